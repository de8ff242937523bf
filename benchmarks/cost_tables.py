"""Tables of what things cost, and of nested condensation, from the result files of single measurements."""

from statistics import mean, median

from common import markdown, read_results

__all__ = ["big_data", "current_images", "imagenet_plan", "nested", "scaling", "speed"]

WEIGHTINGS = {
    "random": "random real images",
    "plain": "plain, cut",
    "equal": "every prefix weighs 1",
    "k^2": "weights (k/10)²",
    "k": "weights k/10",
    "0.2": "0.2",
    "0.05": "**0.05**",
    "0.02": "0.02",
    "alone": "condensed for that length alone",
}
CURRENT = {
    "stock replay": "stock replay",
    "condensed replay": "condensed replay",
    "condensed replay, current images as tensors": 'condensed replay, `current="crop4_flip"`',
}
READ = {"in memory": "in memory", "read ahead": "in a file, read ahead", "when needed": "in a file, read when needed"}


def nested(dataset: str, head: str) -> str:
    """Accuracy of a set's prefixes by how they were weighted, means of all networks."""
    rows = read_results(f"nested_{dataset}")["accuracies"]
    lengths = list(next(iter(rows.values())))
    found = [
        [WEIGHTINGS[name], *(f"{mean(rows[name][k]):.1f}" for k in lengths)] for name in WEIGHTINGS if name in rows
    ]
    return markdown([head, *lengths], found)


def scaling() -> str:
    """Seconds and memory over classes, and at the most classes over real images."""
    results = read_results("scaling_cpu")
    fewer = sorted(results["batch_real"], key=lambda row: -row["batch_real"])
    measured = [*results["classes"], *(row for row in fewer if row["batch_real"] < results["config"]["batch_real"])]
    head = ["classes × real images each", *(f"{row['classes']} × {row['batch_real']}" for row in measured)]
    seconds = ["s per iteration", *(f"{row['seconds']:.2f}" for row in measured)]
    return markdown(head, [seconds, ["peak memory, GiB", *(f"{row['peak_memory_gib']:.2f}" for row in measured)]])


def speed(machine: str, unit: str) -> str:
    """Ours and the official way in turns, and what the machine allows, in seconds or milliseconds."""
    results, times = read_results(f"speed_{machine}"), {"seconds": 1, "milliseconds": 1000}[unit]
    rows = []
    for case in results["condensation"]:
        what = f"an iteration: {case['dataset']}, {case['classes']} classes, ipc {case['ipc']}"
        ours, official, floor = (times * case[name] for name in ("ours", "official", "floor"))
        reached = f"{floor:.2f}, {case['floor'] / case['ours']:.0%} reached"
        rows.append([what, f"{ours:.2f}", f"{official:.2f}", f"{case['ratio']:.1f}", reached])
    evaluation = results["evaluation"]
    parts = {"epoch": "an epoch on 100 images", "test": "a test", "whole": "1,001 epochs and a test, calculated"}
    for part, what in parts.items():
        if f"ours_{part}" not in evaluation:
            continue
        ours, official = (times * evaluation[f"{name}_{part}"] for name in ("ours", "official"))
        digits = 1 if official >= 100 else 2
        rows.append([what, f"{ours:,.{digits}f}", f"{official:,.{digits}f}", f"{evaluation[f'ratio_{part}']:.1f}", ""])
    return markdown([f"{unit} for", "ours", "official way", "ratio", "the machine's limit"], rows)


def big_data() -> str:
    """Seconds an iteration by where the real images lie."""
    rows = read_results("big_data_cpu")["rows"]
    found = [[title, f"{rows[name]['seconds']:.2f}", f"{rows[name]['ratio']:.2f}"] for name, title in READ.items()]
    return markdown(["real images", "s per iteration", "times that in memory"], found)


def imagenet_plan() -> str:
    """What ImageNet-1K would take, calculated."""
    found = read_results("imagenet_plan").get("imagenet", {})
    return markdown(["ImageNet-1K", "calculated"], [[name, f"{value:,.1f}"] for name, value in found.items()])


def current_images() -> str:
    """Milliseconds of a mini-batch before the network sees it."""
    results = read_results("fast_path")
    return markdown(["", "ms"], [[title, f"{median(results[name]['ms']):.0f}"] for name, title in CURRENT.items()])
