"""How kapp-controller templates and deploys a bundle: the sections of an App that a Package sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.carvel.accepted import STDIN
from carvelwright.carvel.locks import IMAGES_LOCK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TEMPLATE: tuple[dict[str, Any], ...] = ({"ytt": {"paths": ["config/"]}}, {"kbld": {"paths": [STDIN, IMAGES_LOCK]}})
_DEPLOY: tuple[dict[str, Any], ...] = ({"kapp": {}},)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an App's template: `kind` is ytt, kbld or helmTemplate, `options` what stands below it."""

    kind: str
    options: Mapping[str, Any]

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that are named, in the bundle; none where the tool reads what the server gives it."""
        return tuple(self.options.get("paths") or ())

    @property
    def values_paths(self) -> tuple[str, ...]:
        """The values files that are named, in the bundle; what comes from the cluster is left out."""
        return tuple(source["path"] for source in self.options.get("valuesFrom") or () if "path" in source)

    @property
    def takes_values(self) -> bool:
        """Whether the values of a PackageInstall go to a step of this kind: to the first one."""
        return self.kind in ("ytt", "helmTemplate")

    @property
    def reads_input(self) -> bool:
        """Whether the output of the step before is read: helm takes it for values, and only where they name it."""
        if self.kind == "helmTemplate":
            return STDIN in self.values_paths
        return not self.paths or STDIN in self.paths

    @property
    def only_locks(self) -> bool:
        """Whether the step does no more than put locked images in the place of others."""
        return (
            self.kind == "kbld"
            and STDIN in self.paths
            and set(self.paths) <= {STDIN, IMAGES_LOCK, ".imgpkg/", ".imgpkg"}
        )


def template(static: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the App's template as the Package has it; `static` is what package.yaml.j2 says."""
    return list(static.get("template") or _TEMPLATE)


def deploy(static: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the App's deploy section as the Package has it."""
    return list(static.get("deploy") or _DEPLOY)


def steps(static: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the steps of the App's template."""
    return tuple(Step(kind, options) for step in template(static) for kind, options in step.items())


def needs_helm(steps: Sequence[Step]) -> bool:
    """Tell whether any step runs helm."""
    return any(step.kind == "helmTemplate" for step in steps)


@dataclass(frozen=True, slots=True)
class Placement:
    """Into which namespaces kapp puts objects: `default` where they name none, `into` for all, or one for another."""

    default: str
    into: str | None = None
    mapping: tuple[tuple[str, str], ...] = ()

    def namespace(self, named: str | None) -> str:
        """Return the namespace of an object that is in one."""
        namespace = self.into or named or self.default
        return dict(self.mapping).get(namespace, namespace)


def placement(static: Mapping[str, Any], default: str) -> Placement:
    """Return where the App's deploy section puts objects; of the same option twice the raw one counts."""
    kapp = deploy(static)[0]["kapp"]
    raw = [text.partition("=")[::2] for text in kapp.get("rawOptions") or ()]
    into = next((value for name, value in reversed(raw) if name == "--into-ns"), kapp.get("intoNs"))
    mapped = [
        *(kapp.get("mapNs") or ()),
        *(one for name, value in raw if name == "--map-ns" for one in value.split(",")),
    ]
    pairs = [text.partition("=")[::2] for text in mapped]
    return Placement(default, into, tuple(pairs))
