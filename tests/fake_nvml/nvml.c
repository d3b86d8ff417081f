/* A libnvidia-ml.so.1 whose cards are lines of a text file. Loaded by the real pynvml, and by wandb's own sampler.
 *
 * The file $FAKE_NVML_STATE holds "key=value" lines and is read again whenever it was replaced. A card's keys begin with
 * its number ("0.temperature.0=41"), a MIG instance's with "0.mig.1."; "driver.…" and "event.N" belong to the driver.
 * A value that is missing is NVML_ERROR_NOT_SUPPORTED; "error 15" is that error; "hang" does not return until the value
 * is another one; "crash" ends the process with SIGSEGV. "0.lost=1" loses the card, driver.state=unloaded the driver,
 * and another driver.generation is a driver that was restarted: handles and nvmlInit of before are void.
 * $FAKE_NVML_CALLS, where set, gets a line for each call: "function key".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
       DRIVER_NOT_LOADED = 9, TIMEOUT = 10, FUNCTION_NOT_FOUND = 13, GPU_IS_LOST = 15, UNKNOWN = 999 };
enum { MAX_GPUS = 32, MAX_MIG = 8, KEY = 128, VALUE = 512 };

typedef struct { int index, mig; } Device; /* mig -1: the card itself */
typedef struct { char *key, *value; } Entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Entry *entries;
static size_t count;
static struct stat seen;
static long generation = -1; /* of the last nvmlInit */
static int initialised;
static Device devices[MAX_GPUS], instances[MAX_GPUS][MAX_MIG];

static int by_key(const void *a, const void *b) { return strcmp(((const Entry *)a)->key, ((const Entry *)b)->key); }

/* Reads the file again if it is another one. With the lock held. */
static void refresh(void) {
  const char *path = getenv("FAKE_NVML_STATE");
  struct stat now;
  if (!path || stat(path, &now)) return;
  if (now.st_ino == seen.st_ino && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec && now.st_mtim.tv_sec == seen.st_mtim.tv_sec)
    return;
  FILE *file = fopen(path, "r");
  if (!file) return;
  char line[KEY + VALUE];
  for (size_t i = 0; i < count; i++) free(entries[i].key);
  count = 0;
  while (fgets(line, sizeof line, file)) {
    char *equals = strchr(line, '=');
    if (!equals) continue;
    line[strcspn(line, "\n")] = 0;
    *equals = 0;
    entries = realloc(entries, (count + 1) * sizeof *entries);
    size_t size = strlen(line) + 1 + strlen(equals + 1) + 1;
    entries[count].key = memcpy(malloc(size), line, size);
    entries[count].value = entries[count].key + strlen(line) + 1;
    count++;
  }
  fclose(file);
  qsort(entries, count, sizeof *entries, by_key);
  seen = now;
}

static int look_up(const char *key, char *value) {
  pthread_mutex_lock(&lock);
  refresh();
  Entry wanted = {(char *)key, 0};
  Entry *found = count ? bsearch(&wanted, entries, count, sizeof *entries, by_key) : 0;
  if (found) snprintf(value, VALUE, "%s", found->value);
  pthread_mutex_unlock(&lock);
  return found != 0;
}

static long number(const char *key, long otherwise) {
  char value[VALUE];
  return look_up(key, value) ? atol(value) : otherwise;
}

static void note(const char *function, const char *key) {
  const char *path = getenv("FAKE_NVML_CALLS");
  if (!path) return;
  char line[KEY * 2];
  int length = snprintf(line, sizeof line, "%s %s\n", function, key);
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return;
  if (write(file, line, length) != length) abort();
  close(file);
}

/* What a key says: OK with its value, or the error that it stands for. Blocks while it says "hang". */
static int ask(const char *key, char *value) {
  for (;;) {
    if (!look_up(key, value)) return NOT_SUPPORTED;
    if (!strcmp(value, "crash")) raise(SIGSEGV);
    if (strcmp(value, "hang")) break;
    nanosleep(&(struct timespec){0, 5000000}, 0);
  }
  return strncmp(value, "error ", 6) ? OK : atoi(value + 6);
}

static int driver(void) {
  char value[VALUE];
  int state = ask("driver.call", value);
  if (state != OK && state != NOT_SUPPORTED) return state;
  if (look_up("driver.state", value) && !strcmp(value, "unloaded")) return initialised ? UNINITIALIZED : DRIVER_NOT_LOADED;
  if (!initialised || generation != number("driver.generation", 0)) return UNINITIALIZED;
  return OK;
}

static void name_key(char *key, const Device *device, const char *format, va_list arguments) {
  int length = device->mig < 0 ? snprintf(key, KEY, "%d.", device->index)
                               : snprintf(key, KEY, "%d.mig.%d.", device->index, device->mig);
  vsnprintf(key + length, KEY - length, format, arguments);
}

/* A device's value, after everything that may be wrong with driver and device. */
static int get(const char *function, const Device *device, char *value, const char *format, ...) {
  char key[KEY], lost[KEY];
  va_list arguments;
  va_start(arguments, format);
  name_key(key, device, format, arguments);
  va_end(arguments);
  note(function, key);
  int state = driver();
  if (state) return state;
  snprintf(lost, sizeof lost, "%d.lost", device->index);
  if (number(lost, 0)) return GPU_IS_LOST;
  return ask(key, value);
}

#define UINT(function, key)                                       \
  int function(Device *device, unsigned *out) {                   \
    char value[VALUE];                                            \
    int state = get(#function, device, value, key);               \
    if (!state) *out = strtoul(value, 0, 0);                      \
    return state;                                                 \
  }
#define UINT_OF(function, key)                                    \
  int function(Device *device, unsigned which, unsigned *out) {   \
    char value[VALUE];                                            \
    int state = get(#function, device, value, key ".%u", which);  \
    if (!state) *out = strtoul(value, 0, 0);                      \
    return state;                                                 \
  }
#define ULONGLONG(function, key)                                  \
  int function(Device *device, unsigned long long *out) {         \
    char value[VALUE];                                            \
    int state = get(#function, device, value, key);               \
    if (!state) *out = strtoull(value, 0, 0);                     \
    return state;                                                 \
  }
#define TEXT(function, key)                                       \
  int function(Device *device, char *out, unsigned size) {        \
    char value[VALUE];                                            \
    int state = get(#function, device, value, key);               \
    if (!state) snprintf(out, size, "%s", value);                 \
    return state;                                                 \
  }
#define PAIR(function, key)                                                  \
  int function(Device *device, unsigned *first, unsigned *second) {          \
    char value[VALUE];                                                       \
    int state = get(#function, device, value, key);                          \
    if (!state && sscanf(value, "%u %u", first, second) != 2) return UNKNOWN; \
    return state;                                                            \
  }

/* The driver. */

int nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  char value[VALUE];
  note("nvmlInit", "driver.init");
  int state = ask("driver.init", value);
  if (state && state != NOT_SUPPORTED) return state;
  if (look_up("driver.state", value) && !strcmp(value, "unloaded")) return DRIVER_NOT_LOADED;
  for (int i = 0; i < MAX_GPUS; i++) {
    devices[i] = (Device){i, -1};
    for (int j = 0; j < MAX_MIG; j++) instances[i][j] = (Device){i, j};
  }
  generation = number("driver.generation", 0);
  initialised = 1;
  return OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
  note("nvmlShutdown", "driver");
  initialised = 0;
  return OK;
}
const char *nvmlErrorString(int error) {
  static __thread char text[32];
  snprintf(text, sizeof text, "fake NVML error %d", error);
  return text;
}
int nvmlDeviceGetCount_v2(unsigned *out) {
  int state = driver();
  if (!state) *out = number("driver.count", 0);
  return state;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **out) {
  char value[VALUE];
  if (index >= (unsigned)number("driver.count", 0)) return INVALID_ARGUMENT;
  int state = get("nvmlDeviceGetHandleByIndex", &devices[index], value, "uuid");
  if (!state) *out = &devices[index];
  return state;
}
static int system_text(const char *key, char *out, unsigned size) {
  char value[VALUE];
  int state = driver();
  if (!state) state = ask(key, value);
  if (!state) snprintf(out, size, "%s", value);
  return state;
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return system_text("driver.version", out, size); }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { return system_text("driver.version", out, size); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) {
  int state = driver();
  if (!state) *out = number("driver.cuda", 12040);
  return state;
}

/* One value each. */

TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetSerial, "serial")
UINT(nvmlDeviceGetIndex, "index")
UINT(nvmlDeviceGetBrand, "brand")
UINT(nvmlDeviceGetArchitecture, "architecture")
UINT(nvmlDeviceGetNumGpuCores, "cores")
UINT(nvmlDeviceGetNumaNodeId, "numa_node")
UINT(nvmlDeviceGetPowerUsage, "power_mw")
UINT(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
UINT(nvmlDeviceGetPowerManagementLimit, "power_limit_mw")
UINT(nvmlDeviceGetPerformanceState, "performance_state")
UINT(nvmlDeviceGetPowerState, "performance_state")
UINT(nvmlDeviceGetFanSpeed, "fan")
UINT(nvmlDeviceGetNumFans, "fans")
UINT(nvmlDeviceGetPcieReplayCounter, "pcie_replays")
UINT(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_gen")
UINT(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
UINT(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_max_gen")
UINT(nvmlDeviceGetMaxPcieLinkWidth, "pcie_max_width")
UINT(nvmlDeviceGetPcieSpeed, "pcie_speed")
UINT(nvmlDeviceGetPcieLinkMaxSpeed, "pcie_max_speed")
UINT(nvmlDeviceGetMaxMigDeviceCount, "mig_max")
UINT(nvmlDeviceGetGpuInstanceId, "gpu_instance")
UINT(nvmlDeviceGetComputeInstanceId, "compute_instance")
UINT_OF(nvmlDeviceGetFanSpeed_v2, "fan")
UINT_OF(nvmlDeviceGetTemperature, "temperature")
UINT_OF(nvmlDeviceGetTemperatureThreshold, "temperature_threshold")
UINT_OF(nvmlDeviceGetClockInfo, "clock")
UINT_OF(nvmlDeviceGetMaxClockInfo, "max_clock")
UINT_OF(nvmlDeviceGetPcieThroughput, "pcie_kbps")
ULONGLONG(nvmlDeviceGetTotalEnergyConsumption, "energy_mj")
ULONGLONG(nvmlDeviceGetCurrentClocksEventReasons, "throttle_reasons")
ULONGLONG(nvmlDeviceGetCurrentClocksThrottleReasons, "throttle_reasons")
PAIR(nvmlDeviceGetEncoderUtilization, "encoder")
PAIR(nvmlDeviceGetDecoderUtilization, "decoder")
PAIR(nvmlDeviceGetJpgUtilization, "jpeg")
PAIR(nvmlDeviceGetOfaUtilization, "ofa")
PAIR(nvmlDeviceGetMigMode, "mig_mode")

int nvmlDeviceGetUtilizationRates(Device *device, unsigned out[2]) {
  char value[VALUE];
  int state = get("nvmlDeviceGetUtilizationRates", device, value, "utilization");
  if (!state && sscanf(value, "%u %u", out, out + 1) != 2) return UNKNOWN;
  return state;
}
int nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) {
  char value[VALUE];
  int state = get("nvmlDeviceGetCudaComputeCapability", device, value, "capability");
  if (!state && sscanf(value, "%d %d", major, minor) != 2) return UNKNOWN;
  return state;
}
typedef struct { unsigned version; int margin; } Margin;
int nvmlDeviceGetMarginTemperature(Device *device, Margin *out) {
  char value[VALUE];
  int state = get("nvmlDeviceGetMarginTemperature", device, value, "temperature_margin");
  if (!state) out->margin = atoi(value);
  return state;
}
static int memory(const char *function, Device *device, unsigned long long out[4]) {
  char value[VALUE]; /* total reserved free used */
  int state = get(function, device, value, "memory");
  if (!state && sscanf(value, "%llu %llu %llu %llu", out, out + 1, out + 2, out + 3) != 4) return UNKNOWN;
  return state;
}
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlDeviceGetMemoryInfo(Device *device, Memory *out) {
  unsigned long long said[4];
  int state = memory("nvmlDeviceGetMemoryInfo", device, said);
  if (!state) out->total = said[0], out->free = said[2], out->used = said[1] + said[3]; /* as the driver: with reserved */
  return state;
}
typedef struct { unsigned version; unsigned long long said[4]; } Memory2;
int nvmlDeviceGetMemoryInfo_v2(Device *device, Memory2 *out) {
  char value[VALUE];
  int state = get("nvmlDeviceGetMemoryInfo_v2", device, value, "memory_v2");
  return state ? state : memory("nvmlDeviceGetMemoryInfo_v2", device, out->said);
}
int nvmlDeviceGetMemoryErrorCounter(Device *device, int kind, int counter, int location, unsigned long long *out) {
  char value[VALUE];
  int state = get("nvmlDeviceGetMemoryErrorCounter", device, value, "memory_errors.%d.%d.%d", kind, counter, location);
  if (!state) *out = strtoull(value, 0, 0);
  return state;
}
int nvmlDeviceGetTotalEccErrors(Device *device, int kind, int counter, unsigned long long *out) {
  char value[VALUE];
  int state = get("nvmlDeviceGetTotalEccErrors", device, value, "ecc.%d.%d", kind, counter);
  if (!state) *out = strtoull(value, 0, 0);
  return state;
}
int nvmlDeviceGetViolationStatus(Device *device, unsigned policy, unsigned long long out[2]) {
  char value[VALUE];
  int state = get("nvmlDeviceGetViolationStatus", device, value, "violation_ns.%u", policy);
  if (!state) out[0] = 0, out[1] = strtoull(value, 0, 0);
  return state;
}
int nvmlDeviceGetRemappedRows(Device *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
  char value[VALUE];
  int state = get("nvmlDeviceGetRemappedRows", device, value, "remapped");
  if (!state && sscanf(value, "%u %u %u %u", corrected, uncorrected, pending, failed) != 4) return UNKNOWN;
  return state;
}
int nvmlDeviceGetRetiredPages(Device *device, unsigned cause, unsigned *size, unsigned long long *addresses) {
  char value[VALUE];
  int state = get("nvmlDeviceGetRetiredPages", device, value, "retired.%u", cause);
  if (state) return state;
  unsigned pages = strtoul(value, 0, 0), room = *size;
  *size = pages;
  if (room < pages) return INSUFFICIENT_SIZE;
  for (unsigned i = 0; addresses && i < pages; i++) addresses[i] = i;
  return OK;
}
typedef struct {
  char legacy[16];
  unsigned domain, bus, device, id, subsystem;
  char bus_id[32];
} Pci;
int nvmlDeviceGetPciInfo_v3(Device *device, Pci *out) {
  char value[VALUE];
  int state = get("nvmlDeviceGetPciInfo", device, value, "pci");
  if (state) return state;
  memset(out, 0, sizeof *out);
  snprintf(out->bus_id, sizeof out->bus_id, "%.31s", value);
  snprintf(out->legacy, sizeof out->legacy, "%.15s", value);
  sscanf(value, "%x:%x:%x", &out->domain, &out->bus, &out->device);
  return OK;
}

/* Field values: "0.field.82=61"; a scope other than 0 is part of the key: "0.field.138.4294967295". */

typedef struct {
  unsigned id, scope;
  long long timestamp, latency;
  unsigned type;
  int state;
  union { double d; unsigned long long u; long long s; } value;
} Field;
int nvmlDeviceGetFieldValues(Device *device, int size, Field *fields) {
  char value[VALUE];
  int state = get("nvmlDeviceGetFieldValues", device, value, "fields");
  if (state) return state;
  for (int i = 0; i < size; i++) {
    Field *field = fields + i;
    field->state = field->scope ? get("field", device, value, "field.%u.%u", field->id, field->scope)
                                : get("field", device, value, "field.%u", field->id);
    field->timestamp = time(0) * 1000000LL;
    if (field->state) continue;
    if (strchr(value, '.')) field->type = 0, field->value.d = atof(value);
    else if (*value == '-') field->type = 4, field->value.s = atoll(value);
    else field->type = 3, field->value.u = strtoull(value, 0, 0);
  }
  return OK;
}

/* Processes: "0.processes=PID:BYTES …" and "0.process_utilization=PID:SM:MEMORY:ENCODER:DECODER …". */

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } Process;
static int processes(const char *function, const char *key, Device *device, unsigned *size, Process *out) {
  char value[VALUE];
  int state = get(function, device, value, "%s", key);
  if (state) return state;
  unsigned found = 0, room = out ? *size : 0;
  for (char *rest = value, *word; (word = strtok_r(rest, " ", &rest)); found++)
    if (found < room) {
      memset(out + found, 0, sizeof *out);
      if (sscanf(word, "%u:%llu", &out[found].pid, &out[found].memory) != 2) return UNKNOWN;
      out[found].gpu_instance = out[found].compute_instance = ~0u;
    }
  *size = found;
  return found > room ? INSUFFICIENT_SIZE : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned *size, Process *out) {
  return processes("nvmlDeviceGetComputeRunningProcesses", "processes", device, size, out);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *device, unsigned *size, Process *out) {
  return processes("nvmlDeviceGetGraphicsRunningProcesses", "graphics_processes", device, size, out);
}
typedef struct { unsigned pid; unsigned long long timestamp; unsigned said[4]; } Utilization;
int nvmlDeviceGetProcessUtilization(Device *device, Utilization *out, unsigned *size, unsigned long long since) {
  char value[VALUE];
  (void)since;
  int state = get("nvmlDeviceGetProcessUtilization", device, value, "process_utilization");
  if (state) return state;
  unsigned found = 0, room = out ? *size : 0;
  for (char *rest = value, *word; (word = strtok_r(rest, " ", &rest)); found++)
    if (found < room) {
      unsigned *said = out[found].said;
      if (sscanf(word, "%u:%u:%u:%u:%u", &out[found].pid, said, said + 1, said + 2, said + 3) != 5) return UNKNOWN;
      out[found].timestamp = time(0) * 1000000ULL;
    }
  *size = found;
  if (!found) return NOT_FOUND;
  return found > room ? INSUFFICIENT_SIZE : OK;
}

/* GPM: "0.gpm=1" says that the card has it, "0.gpm.2=63.5" a metric between two samples; the same on an instance. */

typedef struct { Device device; } Sample;
typedef struct { unsigned id; int state; double value; const char *names[3]; } Metric;
typedef struct { unsigned version, size; Sample *first, *second; Metric metrics[]; } Metrics;
typedef struct { unsigned version, supported; } Support;
int nvmlGpmQueryDeviceSupport(Device *device, Support *out) {
  char value[VALUE];
  int state = get("nvmlGpmQueryDeviceSupport", device, value, "gpm");
  if (state == NOT_SUPPORTED) return out->supported = 0, OK;
  if (!state) out->supported = atoi(value);
  return state;
}
int nvmlGpmSampleAlloc(Sample **out) { return *out = calloc(1, sizeof **out), OK; }
int nvmlGpmSampleFree(Sample *sample) { return free(sample), OK; }
int nvmlGpmSampleGet(Device *device, Sample *sample) {
  char value[VALUE];
  int state = get("nvmlGpmSampleGet", device, value, "gpm");
  if (!state) sample->device = *device;
  return state;
}
int nvmlGpmMigSampleGet(Device *device, unsigned instance, Sample *sample) {
  char value[VALUE];
  for (int j = 0; j < MAX_MIG; j++) {
    int state = get("nvmlGpmMigSampleGet", &instances[device->index][j], value, "gpu_instance");
    if (state == OK && (unsigned)atoi(value) == instance) return sample->device = instances[device->index][j], OK;
    if (state != OK && state != NOT_SUPPORTED) return state;
  }
  return NOT_FOUND;
}
int nvmlGpmMetricsGet(Metrics *out) {
  char value[VALUE];
  for (unsigned i = 0; i < out->size; i++) {
    Metric *metric = out->metrics + i;
    metric->state = get("gpm", &out->second->device, value, "gpm.%u", metric->id);
    if (!metric->state) metric->value = atof(value);
    metric->names[0] = metric->names[1] = metric->names[2] = "";
  }
  return OK;
}

/* MIG. */

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned index, Device **out) {
  char value[VALUE];
  if (index >= MAX_MIG) return INVALID_ARGUMENT;
  int state = get("nvmlDeviceGetMigDeviceHandleByIndex", &instances[device->index][index], value, "uuid");
  if (!state) *out = &instances[device->index][index];
  return state == NOT_SUPPORTED ? NOT_FOUND : state;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *device, Device **out) { return *out = &devices[device->index], OK; }
int nvmlDeviceIsMigDeviceHandle(Device *device, unsigned *out) { return *out = device->mig >= 0, OK; }

/* Events: "event.7=0 8 79" is the driver's 7th: XID (8) 79 on card 0. A set tells those that come after it was made. */

typedef struct { unsigned long long types[MAX_GPUS]; long next; } Set;
typedef struct { Device *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } Event;
static int event(long index, char *value) {
  char key[KEY];
  snprintf(key, sizeof key, "event.%ld", index);
  return look_up(key, value);
}
int nvmlEventSetCreate(Set **out) {
  char value[VALUE];
  int state = driver();
  if (state) return state;
  *out = calloc(1, sizeof **out);
  for ((*out)->next = 1; event((*out)->next, value); (*out)->next++) {}
  return OK;
}
int nvmlEventSetFree(Set *set) { return free(set), OK; }
int nvmlDeviceGetSupportedEventTypes(Device *device, unsigned long long *out) {
  char value[VALUE];
  int state = get("nvmlDeviceGetSupportedEventTypes", device, value, "event_types");
  if (!state) *out = strtoull(value, 0, 0);
  return state;
}
int nvmlDeviceRegisterEvents(Device *device, unsigned long long types, Set *set) {
  char value[VALUE];
  int state = get("nvmlDeviceRegisterEvents", device, value, "event_types");
  if (!state && (types & ~strtoull(value, 0, 0))) return NOT_SUPPORTED;
  if (!state) set->types[device->index] |= types;
  return state;
}
int nvmlEventSetWait_v2(Set *set, Event *out, unsigned timeout_ms) {
  char value[VALUE];
  for (unsigned waited = 0;; waited += 100) { /* a real driver sleeps in the kernel; hardly more is spent here */
    int state = driver();
    if (state) return state;
    while (event(set->next, value)) {
      unsigned index = 0, gpu_instance = ~0u, compute_instance = ~0u;
      unsigned long long type = 0, data = 0;
      sscanf(value, "%u %llu %llu %u %u", &index, &type, &data, &gpu_instance, &compute_instance);
      set->next++;
      if (index >= MAX_GPUS || !(set->types[index] & type)) continue;
      *out = (Event){&devices[index], type, data, gpu_instance, compute_instance};
      return OK;
    }
    if (waited >= timeout_ms) return TIMEOUT;
    nanosleep(&(struct timespec){0, 100000000}, 0);
  }
}
