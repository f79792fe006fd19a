"""`gammanav demo`: the whole procedure against simulated devices."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo", epilog="Example: gammanav demo --headless --scene bed --seed 3 --out demo-out --force")
@click.option(
    "--out", default="demo-out", show_default=True, type=click.Path(path_type=Path), help="Results go here."
)
@click.option("--headless", is_flag=True, help="No window on this display.")
@click.option(
    "--scene", default="bed", show_default=True, type=click.Choice(["occult", "node", "bed"]), help="Patient."
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Anatomy, strengths, hand and noise.",
)
@click.option(
    "--port",
    default=18944,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The engine's OpenIGTLink server. 0: any free one.",
)
@click.option(
    "--sim-port",
    default=18954,
    show_default=True,
    type=click.IntRange(0, 65534),
    help="The simulated tracker; the probe is one above. 0: any free ones.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing result.")
def command(out: Path, headless: bool, scene: str, seed: int, port: int, sim_port: int, force: bool) -> None:
    """SIMULATION of the main job: calibrate, touch, scan, resect, scan again, judge the bed, report.

    Takes about 85 s. Research use only.
    """
    from navigation.demo.run import Plan, run_demo

    for line in run_demo(Plan(out, scene, seed, port, sim_port, headless, force)):
        click.echo(line)
