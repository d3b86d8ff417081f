"""What a run is called and how it is kept: `init`'s arguments over the environment's variables, checked as in wandb.

Precedence: an argument of `init`, then its `settings=`, then `setup`'s, then the environment. Each is checked where it
is given, so that an error names it. In a trial of a sweep its agent says which run it is: `init` cannot, as in wandb.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from client import policy, setting_names
from client.errors import UnsupportedError, UsageError
from client.policy import Policy
from client.term import termwarn

if TYPE_CHECKING:
    from client.run_moment import RunMoment

MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
CONSOLES = {name: name.partition("_")[0] for name in ("auto", "off", "wrap", "redirect", "wrap_raw", "wrap_emu")}
REINITS = ("default", "return_previous", "finish_previous", "create_new")
RESUMES = ("allow", "must", "never", "auto")
NAME_MAX_CHARACTERS = 128
TAG_MAX_CHARACTERS = 64
_PROJECT_FORBIDDEN = "/\\#?%:"
_ID_FORBIDDEN = ":;,#?/'"

_KNOWN = setting_names.ALL | policy.NAMES

_ENVIRONMENT = {
    "WANDB_DIR": "root_dir",
    "WANDB_NAME": "run_name",
    "WANDB_NOTES": "run_notes",
    "WANDB_TAGS": "run_tags",
    "WANDB_JOB_TYPE": "run_job_type",
    "WANDB_USER_EMAIL": "email",
}


class SettingError(UsageError, ValueError):
    """A setting has a value that it cannot have. A ValueError too, as wandb's is."""


class Settings:
    """wandb's settings, as `init(settings=...)` takes them: `Settings(run_group="a")`. Unset ones read as None.

    Beside wandb's, it takes our own: those of policy.Policy, such as `on_full` and `on_drop`.

    Raises SettingError for a name that neither has, and for a value that cannot be. Those that concern the daemon's
    side are accepted and named once on stderr by `init`.
    """

    def __init__(self, **values: Any) -> None:
        values = {f"x{name}" if name.startswith("_") else name: value for name, value in values.items()}
        for name in values:
            if name not in _KNOWN:
                raise SettingError(f"unknown setting {name!r}: Extra inputs are not permitted; see wandb.Settings")
        for name, value in values.items():
            _check(name, value)
        self.__dict__["_values"] = values

    def given(self) -> dict[str, Any]:
        """The settings that have been set."""
        return dict(self._values)

    def __getattr__(self, name: str) -> Any:
        if name in _KNOWN:
            return self.__dict__["_values"].get(name)
        raise AttributeError(f"wandb has no setting {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _KNOWN:
            raise SettingError(f"unknown setting {name!r}; see wandb.Settings")
        _check(name, value)
        self._values[name] = value

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


class RunSettings(msgspec.Struct):
    """Everything `init` has decided about a run. `directory` is absolute; `forwarded` are further wandb settings."""

    run_id: str | None = None
    project: str | None = None
    entity: str | None = None
    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    job_type: str | None = None
    mode: str = "online"
    resume: str | None = None
    reinit: str = "default"
    directory: str = ""
    save_code: bool | None = None
    console: str = "auto"
    silent: bool = False
    quiet: bool = False
    sweep_id: str | None = None
    sweep_param_path: str | None = None
    forwarded: dict[str, Any] = {}
    without_effect: tuple[str, ...] = ()
    rewind_to: int | None = None
    """The step that `resume_from` names; `run_id` is the run that it names."""
    policy: Policy = msgspec.field(default_factory=Policy)


def resolve(
    arguments: Mapping[str, Any],
    settings: Any,
    environ: Mapping[str, str] = os.environ,
    process_wide: Mapping[str, Any] | None = None,
) -> RunSettings:
    """Join `init`'s arguments (None where not given), its `settings=`, those given to `setup`, and the environment.

    Raises UsageError or SettingError, saying what is allowed.
    """
    told = given_settings(settings)
    outside = {**from_environment(environ), **(process_wide or {})}
    own = {**told, **{name: value for name, value in arguments.items() if value is not None}}
    explicit = {**(process_wide or {}), **told}
    if outside.get("sweep_id"):
        own = _without_run_path(own)
    values = {**outside, **{name: value for name, value in own.items() if value is not None}}
    _refuse_unsupported(values)
    moment = checked_moment(values.get("resume_from"), values.get("run_id"))
    return RunSettings(
        run_id=moment.run if moment is not None else checked_run_id(values.get("run_id")),
        project=checked_project(values.get("project")),
        entity=_text("entity", values.get("entity")),
        name=_text("name", values.get("run_name")),
        notes=_text("notes", values.get("run_notes")),
        tags=checked_tags(values.get("run_tags")) or (),
        group=_text("group", values.get("run_group")),
        job_type=_text("job_type", values.get("run_job_type")),
        mode=checked_mode(values.get("mode")),
        resume=checked_resume(values.get("resume")),
        reinit=checked_reinit(values.get("reinit")),
        directory=str(Path(values.get("root_dir") or Path.cwd()).expanduser().absolute()),
        save_code=_save_code(values),
        console=checked_console(values.get("console")),
        silent=bool(_flag("silent", values.get("silent"))),
        quiet=bool(_flag("quiet", values.get("quiet"))),
        sweep_id=checked_sweep_id(values.get("sweep_id")),
        sweep_param_path=_text("sweep_param_path", values.get("sweep_param_path")),
        forwarded=_forwarded(values),
        without_effect=tuple(sorted(setting_names.WITHOUT_EFFECT & explicit.keys())),
        policy=_policy(explicit, environ),
        rewind_to=moment.step if moment is not None else None,
    )


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings that WANDB_* variables give, by name; TELEMETRYD_RUN_ID is the run's id if they give none."""
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith("WANDB_") or not text:
            continue
        name = _ENVIRONMENT.get(variable) or variable.removeprefix("WANDB_").lower()
        if name.startswith("_"):
            name = f"x{name}"
        if name in setting_names.OWN | setting_names.FORWARDED:
            values[name] = text.split(",") if name in ("run_tags", "ignore_globs") else text
    if "run_id" not in values and environ.get("TELEMETRYD_RUN_ID"):
        values["run_id"] = environ["TELEMETRYD_RUN_ID"]
    if "mode" not in values and environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        values["mode"] = "disabled"
    return values


def given_settings(settings: Any) -> dict[str, Any]:
    """`init(settings=...)`: a dict, a Settings, or wandb's own Settings object. Raises SettingError."""
    if settings is None:
        return {}
    if isinstance(settings, Mapping):
        return Settings(**settings).given()
    if isinstance(settings, Settings):
        return settings.given()
    fields = getattr(settings, "model_fields_set", None)
    if fields is None:
        raise SettingError(f"settings must be a dict or Settings, not {type(settings).__name__}")
    return {name: getattr(settings, name) for name in fields}


def checked_project(value: Any) -> str | None:
    """A project's name. Raises UsageError as wandb."""
    text = _text("project", value)
    if text is None:
        return None
    if len(text) > NAME_MAX_CHARACTERS:
        raise UsageError(f"Invalid project name {text!r}: exceeded {NAME_MAX_CHARACTERS} characters")
    found = "".join(sorted(set(text) & set(_PROJECT_FORBIDDEN)))
    if found:
        raise UsageError(
            f"Invalid project name {text!r}: cannot contain characters {','.join(_PROJECT_FORBIDDEN)!r},"
            f" found {','.join(found)!r}; use - or _ instead, and entity= for the part before a slash"
        )
    return text


def checked_run_id(value: Any) -> str | None:
    """A run's id. Raises UsageError as wandb."""
    text = _text("id", value)
    if text is None:
        return None
    if not text:
        raise UsageError("Run ID cannot be empty: leave id= out for one that is made")
    if text != text.strip():
        raise UsageError("Run ID cannot start or end with whitespace")
    if set(text) & set(_ID_FORBIDDEN):
        raise UsageError(f"Run ID cannot contain the characters: {_ID_FORBIDDEN}; it is {text!r}")
    if len(text) > NAME_MAX_CHARACTERS:
        raise UsageError(f"Run ID cannot be longer than {NAME_MAX_CHARACTERS} characters; it has {len(text)}")
    return text


def checked_moment(value: Any, run_id: Any = None) -> RunMoment | None:
    """What `resume_from` says. Raises SettingError as wandb, also where `run_id` is another run."""
    text = _text("resume_from", value)
    if not text:
        return None
    from client.run_moment import parse_moment  # few runs go back

    try:
        moment = parse_moment(text)
    except ValueError as error:
        raise SettingError(str(error)) from None
    checked_run_id(moment.run)
    if run_id is not None and run_id != moment.run:
        raise SettingError("Both `run_id` and `resume_from` have been specified with different ids.")
    return moment


def checked_sweep_id(value: Any) -> str | None:
    """A sweep's id. Raises UsageError as wandb."""
    text = _text("sweep_id", value)
    if text is not None and not text.strip():
        raise UsageError("Sweep ID cannot be empty, or of whitespace alone")
    if text is not None and text != text.strip():
        raise UsageError("Sweep ID cannot start or end with whitespace")
    return text


def _without_run_path(own: dict[str, Any]) -> dict[str, Any]:
    """What `init` was given, without what the sweep's agent has decided; told, as in wandb."""
    for name in ("project", "entity", "run_id"):
        if own.get(name) is not None:
            termwarn(f"Ignoring {name} {own[name]!r} when running a sweep.")
    return {name: value for name, value in own.items() if name not in ("project", "entity", "run_id")}


def checked_tags(value: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Tags; a single str is one tag. Raises SettingError."""
    if value is None:
        return None
    tags = (value,) if isinstance(value, str) else tuple(value)
    for index, tag in enumerate(tags):
        if not isinstance(tag, str):
            raise SettingError(f"Tag at index {index} must be a string, not {type(tag).__name__}")
        if not tag:
            raise SettingError(f"Tag at index {index} is empty. Tags must be between 1 and 64 characters")
        if len(tag) > TAG_MAX_CHARACTERS:
            shown = f"{tag[:20]}...{tag[-20:]}"
            raise SettingError(f"Tag '{shown}' is {len(tag)} characters. Tags must be between 1 and 64 characters")
    return tags


def checked_mode(value: Any) -> str:
    """One of MODES' values. Raises SettingError; UnsupportedError for "shared"."""
    if value is None:
        return "online"
    if value == "shared":
        raise UnsupportedError(
            "mode='shared' is not supported: log from one process, or give each its own run with the same group"
        )
    if value not in MODES:
        raise SettingError(f"mode={value!r}: Input should be 'online', 'offline' or 'disabled'")
    return MODES[value]


def checked_resume(value: Any) -> str | None:
    """None or one of RESUMES; True means "auto". Raises SettingError."""
    if value is None or value is False:
        return None
    if value is True:
        return "auto"
    if value not in RESUMES:
        raise SettingError(f"resume={value!r}: Input should be 'allow', 'must', 'never' or 'auto'")
    return str(value)


def checked_console(value: Any) -> str:
    """ "auto", "wrap", "redirect" or "off"; wandb's own kinds of "wrap" are one here. Raises SettingError."""
    if value is None:
        return "auto"
    if value not in CONSOLES:
        raise SettingError(f"console={value!r}: Input should be 'auto', 'off', 'wrap' or 'redirect'")
    return CONSOLES[value]


def checked_reinit(value: Any) -> str:
    """One of REINITS; booleans as wandb takes them. Raises SettingError."""
    if value is None:
        return "default"
    if isinstance(value, bool) or value in ("true", "false", "True", "False"):
        return "finish_previous" if value in (True, "true", "True") else "return_previous"
    if value not in REINITS:
        allowed = ", ".join(repr(name) for name in REINITS)
        raise SettingError(f"reinit={value!r}: Input should be one of {allowed}")
    return str(value)


_CHECKS: dict[str, Callable[[Any], object]] = {
    "mode": checked_mode,
    "project": checked_project,
    "reinit": checked_reinit,
    "resume": checked_resume,
    "resume_from": checked_moment,
    "run_id": checked_run_id,
    "run_tags": checked_tags,
    "sweep_id": checked_sweep_id,
}


def _check(name: str, value: Any) -> None:
    """Raise what `init` would raise for this value of a setting."""
    check = _CHECKS.get(name)
    if check is not None:
        check(value)


def _forwarded(values: Mapping[str, Any]) -> dict[str, Any]:
    forwarded = {name: values[name] for name in sorted(setting_names.FORWARDED & values.keys())}
    if values.get("console") == "off":
        forwarded["console"] = "off"  # a launcher records what the command prints all the same; it stays out of the run
    return forwarded


def _policy(explicit: Mapping[str, Any], environ: Mapping[str, str]) -> Policy:
    try:
        return policy.resolve(explicit, environ)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _refuse_unsupported(values: Mapping[str, Any]) -> None:
    branches = [name for name in ("fork_from", "resume", "resume_from") if values.get(name)]
    if len(branches) > 1:
        raise SettingError(
            "`fork_from`, `resume`, or `resume_from` are mutually exclusive. Please specify only one of them."
        )
    if values.get("fork_from"):
        raise UnsupportedError("fork_from is not supported: start a new run, or continue one with id= and resume=")


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise SettingError(f"{name} must be a string, not {type(value).__name__}: use str({value!r})")
    return value


def _save_code(values: Mapping[str, Any]) -> bool | None:
    """Whether the source is saved; `disable_code` forbids it, as in wandb."""
    disabled = _flag("disable_code", values.get("disable_code"))
    return False if disabled else _flag("save_code", values.get("save_code"))


def _flag(name: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if str(value).lower() in ("1", "true", "yes", "on", "t", "y"):
        return True
    if str(value).lower() in ("0", "false", "no", "off", "f", "n"):
        return False
    raise SettingError(f"{name}={value!r} must be true or false")
