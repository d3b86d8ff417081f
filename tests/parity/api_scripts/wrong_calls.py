"""Wrong calls: which error, and what it says. The facts go into the config of a last run."""

import importlib
import os

wandb = importlib.import_module(os.environ.get("PARITY_MODULE", "wandb"))
said = {}


def attempt(label, call):
    try:
        call()
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        said[label] = [kinds, str(error)]
    else:
        said[label] = [[], ""]


def init(**arguments):
    wandb.init(**{"project": "parity", **arguments})


attempt("log before init", lambda: wandb.log({"a": 1}))
attempt("config before init", lambda: wandb.config.lr)
attempt("config item before init", lambda: wandb.config["lr"])
attempt("summary before init", lambda: wandb.summary.update({}))
attempt("define_metric before init", lambda: wandb.define_metric("a"))
attempt("finish before init", wandb.finish)
attempt("slash in project", lambda: init(project="team/digits"))
attempt("long project", lambda: init(project="a" * 129))
attempt("slash in id", lambda: init(id="a/b"))
attempt("empty id", lambda: init(id=""))
attempt("id with space", lambda: init(id=" a"))
attempt("unknown mode", lambda: init(mode="sometimes"))
attempt("unknown resume", lambda: init(resume="maybe"))
attempt("unknown reinit", lambda: init(reinit="perhaps"))
attempt("empty tag", lambda: init(tags=[""]))
attempt("long tag", lambda: init(tags=["x" * 65]))
attempt("tag no str", lambda: init(tags=[1]))
attempt("name no str", lambda: init(name=3))
attempt("config a list", lambda: init(config=[1]))
attempt("config file missing", lambda: init(config="missing.yaml"))
attempt("include and exclude", lambda: init(config={"a": 1}, config_include_keys=["a"], config_exclude_keys=["b"]))
attempt("unknown setting", lambda: init(settings={"no_such_setting": 1}))
attempt("resume and fork", lambda: init(resume="allow", fork_from="a?_step=1"))
attempt("unknown argument", lambda: init(no_such_argument=1))

run = wandb.init(project="parity", id="wrongcalls", config={"a": 1, "n": {"x": 1}})
attempt("no mapping", lambda: run.log([1]))
attempt("None", lambda: run.log(None))
attempt("key no str", lambda: run.log({1: 2}))
attempt("float step", lambda: run.log({"a": 1}, step=1.5))
attempt("str step", lambda: run.log({"a": 1}, step="4"))
attempt("bool step", lambda: run.log({"a": 1}, step=True))
attempt("large step", lambda: run.log({"a": 1}, step=2**63))
attempt("unserializable", lambda: run.log({"a": object()}))
attempt("config changes", lambda: run.config.update({"a": 2}))
attempt("config item changes", lambda: run.config.__setitem__("a", 2))
attempt("nested config changes", lambda: run.config.update({"n": {"y": 1}}))
attempt("config same", lambda: run.config.update({"a": 1}))
attempt("config missing attribute", lambda: run.config.zzz)
attempt("config missing item", lambda: run.config["zzz"])
attempt("config update None", lambda: run.config.update(None))
attempt("config update list", lambda: run.config.update([("a", 1)]))
attempt("summary missing item", lambda: run.summary["zzz"])
attempt("summary unserializable", lambda: run.summary.update({"a": object()}))
attempt("metric without name", lambda: run.define_metric(""))
attempt("metric name no str", lambda: run.define_metric(3))
attempt("metric step no str", lambda: run.define_metric("a", step_metric=3))
attempt("metric star within", lambda: run.define_metric("a*b"))
attempt("metric op unknown", lambda: run.define_metric("a", summary="best"))
attempt("metric op with space", lambda: run.define_metric("a", summary="min, max"))
attempt("metric summary a list", lambda: run.define_metric("a", summary=["min"]))
attempt("metric hidden no bool", lambda: run.define_metric("a", hidden="x"))
attempt("metric goal", lambda: run.define_metric("a", goal="maximize"))
attempt("must while active", lambda: wandb.init(id="x", resume="must"))
attempt("init while active", lambda: init(project="other"))
run.finish()
attempt("log after finish", lambda: run.log({"a": 1}))
attempt("define_metric after finish", lambda: run.define_metric("a"))
attempt("name after finish", lambda: setattr(run, "name", "x"))
attempt("summary after finish", lambda: run.summary.update({"a": 1}))
attempt("config after finish", lambda: run.config.update({"z": 1}))
attempt("finish after finish", run.finish)
attempt("module log after finish", lambda: wandb.log({"a": 1}))

with wandb.init(project="parity", config={"said": said}):
    pass
