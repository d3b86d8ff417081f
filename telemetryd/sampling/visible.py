"""Which GPUs CUDA shows to a process, and in which order. Pure.

CUDA's rules (CUDA C++ Programming Guide, "CUDA Environment Variables"; MIG User Guide):
* CUDA_DEVICE_ORDER is FASTEST_FIRST by default (unlike cards by speed, equal ones by PCI address) or PCI_BUS_ID.
* CUDA_VISIBLE_DEVICES lists devices by number in that order, by UUID ("GPU-…") or by an unambiguous beginning of one,
  or names instances ("MIG-<uuid>", before driver 470 "MIG-GPU-<uuid>/<gi>/<ci>"). From the first entry on that names
  nothing, the rest does not count; a device that is named twice makes the whole list void.
* A card in MIG mode stands for its first instance. CUDA itself then shows one instance to a process; without the
  variable we show all, because nobody can say which one a process will be given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from telemetryd.sampling.messages import Device


def visible(devices: Iterable[Device], visible_devices: str | None, device_order: str | None) -> list[Device]:
    """The devices in the order of their CUDA ordinals."""
    devices = list(devices)
    cards = _in_order([device for device in devices if device.parent is None], device_order)
    instances = {card.uuid: _instances(card, devices) for card in cards}
    if visible_devices is None:
        return [shown for card in cards for shown in (instances[card.uuid] if card.mig else [card])]
    chosen: list[Device] = []
    for entry in visible_devices.split(","):
        device = _named(entry.strip(), cards, instances, devices)
        if device is None:
            break
        if device.uuid in {other.uuid for other in chosen}:
            return []
        chosen.append(device)
    return chosen


def _in_order(cards: list[Device], device_order: str | None) -> list[Device]:
    by_address = sorted(cards, key=lambda card: (card.pci, card.index))
    if (device_order or "").upper() == "PCI_BUS_ID":
        return by_address
    return sorted(by_address, key=lambda card: -card.speed)


def _instances(card: Device, devices: Sequence[Device]) -> list[Device]:
    found = [device for device in devices if device.parent == card.uuid]
    return sorted(found, key=lambda device: (device.gpu_instance or 0, device.compute_instance or 0))


def _named(
    entry: str, cards: Sequence[Device], instances: dict[str, list[Device]], devices: Sequence[Device]
) -> Device | None:
    if entry.lstrip("+").isdigit():
        number = int(entry)
        return _first_instance(cards[number], instances) if number < len(cards) else None
    if entry.startswith("MIG-GPU-"):
        return _by_old_name(entry.removeprefix("MIG-"), devices)
    if entry.startswith("MIG-"):
        return _one([device for device in devices if device.parent and device.uuid.startswith(entry)])
    if entry.startswith("GPU-"):
        card = _one([card for card in cards if card.uuid.startswith(entry)])
        return _first_instance(card, instances) if card is not None else None
    return None


def _by_old_name(name: str, devices: Sequence[Device]) -> Device | None:
    """ "GPU-<uuid>/<gpu instance>/<compute instance>"."""
    parent, _, numbers = name.partition("/")
    wanted = [
        device
        for device in devices
        if device.parent == parent and f"{device.gpu_instance}/{device.compute_instance}" == numbers
    ]
    return _one(wanted)


def _first_instance(card: Device, instances: dict[str, list[Device]]) -> Device | None:
    if not card.mig:
        return card
    return instances[card.uuid][0] if instances[card.uuid] else None


def _one(found: Sequence[Device]) -> Device | None:
    return found[0] if len(found) == 1 else None
