"""Which GPUs CUDA shows to a process, and in which order."""

from __future__ import annotations

import pytest

from telemetryd.sampling.messages import Device
from telemetryd.sampling.visible import visible

A, B, C, D = "GPU-aaaa1111-0", "GPU-aaaa2222-0", "GPU-bbbb3333-0", "GPU-cccc4444-0"


def card(uuid: str, index: int, *, pci: int | None = None, speed: int = 100, mig: bool = False) -> Device:
    bus = index if pci is None else pci
    return Device(uuid=uuid, index=index, pci=f"00000000:{bus:02X}:00.0", speed=speed, mig=mig)


def instance(uuid: str, parent: str, gi: int, ci: int = 0) -> Device:
    return Device(uuid=uuid, index=0, parent=parent, gpu_instance=gi, compute_instance=ci)


ALIKE = [card(A, 0), card(B, 1), card(C, 2), card(D, 3)]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, [A, B, C, D]),
        ("0,1,2,3", [A, B, C, D]),
        ("2,0", [C, A]),
        (" 3 , 1 ", [D, B]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,-1,2", [B]),
        ("1,9,2", [B]),
        ("1,1", []),
        ("0," + A, []),
        (f"{C},{A}", [C, A]),
        ("GPU-bbbb", [C]),
        ("GPU-aaaa1", [A]),
        ("GPU-aaaa", []),
        ("GPU-ffff", []),
        (f"{B},GPU-ffff,{A}", [B]),
    ],
)
def test_cuda_visible_devices_chooses_and_orders(given: str | None, shown: list[str]) -> None:
    assert [device.uuid for device in visible(ALIKE, given, None)] == shown


def test_without_an_order_the_fastest_comes_first_and_equal_ones_by_address() -> None:
    mixed = [card(A, 0, speed=50), card(B, 1, speed=200), card(C, 2, speed=200), card(D, 3, speed=50)]
    assert [device.uuid for device in visible(mixed, None, None)] == [B, C, A, D]
    assert [device.uuid for device in visible(mixed, None, "FASTEST_FIRST")] == [B, C, A, D]
    assert [device.uuid for device in visible(mixed, None, "PCI_BUS_ID")] == [A, B, C, D]
    assert [device.uuid for device in visible(mixed, "0,3", None)] == [B, D]
    assert [device.uuid for device in visible(mixed, "0,3", "PCI_BUS_ID")] == [A, D]


def test_addresses_and_not_the_drivers_numbers_order_cards() -> None:
    swapped = [card(A, 0, pci=9), card(B, 1, pci=3)]
    assert [device.uuid for device in visible(swapped, None, "PCI_BUS_ID")] == [B, A]


MIG = [
    card(A, 0, mig=True),
    instance("MIG-1111-0", A, 2),
    instance("MIG-2222-0", A, 1),
    card(B, 1),
    card(C, 2, mig=True),
]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, ["MIG-2222-0", "MIG-1111-0", B]),
        ("0", ["MIG-2222-0"]),
        ("1", [B]),
        ("2", []),
        ("MIG-1111-0", ["MIG-1111-0"]),
        ("MIG-1", ["MIG-1111-0"]),
        ("MIG-", []),
        (f"MIG-{A}/2/0", ["MIG-1111-0"]),
        (f"MIG-{A}/3/0", []),
        (A, ["MIG-2222-0"]),
    ],
)
def test_a_card_in_mig_mode_stands_for_its_instances(given: str | None, shown: list[str]) -> None:
    assert [device.uuid for device in visible(MIG, given, None)] == shown
