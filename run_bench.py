"""The command line of the benchmark: parsing and printing only."""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

from tabulate import tabulate

from benchmarks.records import store
from benchmarks.runs import listing
from benchmarks.training import recipes
from models import registry

OK, FAILED, WRONG_INPUT, STOPPED = 0, 1, 2, 75
EXIT_CODES = "exit codes: 0 done, 1 something failed, 2 wrong input, 75 stopped, run again to go on"


class Parser(argparse.ArgumentParser):
    """argparse with one line of error."""

    def error(self, message: str):
        self.exit(WRONG_INPUT, f"error: {message} (see {self.prog} --help)\n")


def seeds(text: str) -> list[int]:
    """`0-2` or `0,3,5` to a list."""
    chosen = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if (
            not first.isdigit()
            or (dash and not last.isdigit())
            or (dash and int(last) < int(first))
        ):
            raise argparse.ArgumentTypeError(
                f"{text!r} is not allowed; write 0, 0-2 or 0,3,5 (seeds from 0 on)"
            )
        chosen.extend(range(int(first), int(last or first) + 1))
    return sorted(set(chosen))


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it is a number above 0")
    return value


def whole(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it is a whole number from 1 on")
    return int(text)


def _common() -> dict[str, argparse.ArgumentParser]:
    """Groups of options that several commands share."""
    groups = {
        name: argparse.ArgumentParser(add_help=False)
        for name in ("plugin", "places", "device", "data")
    }
    groups["plugin"].add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="a Python file that registers models (docs/adding-a-model.md); may be repeated",
    )
    places = groups["places"].add_argument_group(
        "places, the same for every command, whichever of them it reads or writes"
    )
    places.add_argument(
        "--results-dir", type=Path, default=Path("results"), help="where records lie (%(default)s)"
    )
    places.add_argument(
        "--reports-dir", type=Path, default=Path("reports"), help="where reports go (%(default)s)"
    )
    places.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="where data sets lie (%(default)s)"
    )
    places.add_argument(
        "--checkpoint-dir",
        type=Path,
        default=Path("checkpoints"),
        help="where checkpoints lie (%(default)s)",
    )
    device = groups["device"]
    device.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda"),
        help="auto takes CUDA if there is one",
    )
    device.add_argument("--threads", type=whole, help="CPU threads (all cores)")
    device.add_argument(
        "--precision",
        choices=recipes.PRECISIONS,
        help="the recipe's (evaluate: fp32), or: auto is bf16 on CUDA and on a CPU with AMX or AVX512-BF16, "
        "else fp32",
    )
    device.add_argument(
        "--compile",
        choices=recipes.COMPILE_MODES,
        help="the recipe's (evaluate: off), or: off, a mode of torch.compile, or graph (on CUDA the whole step is "
        "one CUDA graph); auto is graph on CUDA, default on a CPU with a C++ compiler, else off",
    )
    device.add_argument(
        "--deterministic",
        action="store_true",
        help="bit-identical repeats on one machine, slower on CUDA",
    )
    data = groups["data"]
    data.add_argument(
        "--dataset",
        default="digits",
        metavar="D",
        help="digits (bundled, the default), cifar10, cifar100, svhn, "
        "or folder:PATH with class folders in train/ and test/",
    )
    data.add_argument(
        "--download",
        action="store_true",
        help="fetch cifar10, cifar100 (170 MB each) or svhn (250 MB) into the data folder, verified",
    )
    return groups


def _recipe_options(parser: argparse.ArgumentParser) -> None:
    described = "; ".join(f"{name}: {text}" for name, text in recipes.DESCRIPTIONS.items())
    parser.add_argument(
        "--recipe",
        metavar="R",
        help=f"a name or a TOML file (smoke on digits, else quick). {described}; epochs<N>: N epochs, as quick",
    )
    parser.add_argument("--seeds", type=seeds, default=[0], metavar="S", help="0, 0-2 or 0,3,5 (0)")
    parser.add_argument(
        "--parallel-seeds",
        type=whole,
        default=1,
        metavar="N",
        help="runs of the same model side by side on one GPU (1)",
    )
    _stop_options(parser)


def _stop_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--time-limit",
        type=positive,
        metavar="SECONDS",
        help="stop with a checkpoint after this; run again to go on (exit code 75)",
    )
    parser.add_argument(
        "--resume-changed",
        action="store_true",
        help="go on even if code, torch, recipe, data or settings changed since the checkpoint; "
        "the record says so",
    )


def _speed_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=whole, help="images a step (128)")
    parser.add_argument("--json", action="store_true", help="the records")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="run_bench.py",
        description="How few trainable parameters reach which error, at which cost: the table of HyperNetworks "
        "(Ha, Dai, Le, ICLR 2017), measured.",
        epilog=f"start with: python run_bench.py reproduce --dataset digits. {EXIT_CODES}",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    g = _common()

    def command(name: str, function, text: str, parents: str) -> argparse.ArgumentParser:
        chosen = [g[key] for key in parents.split()]
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            parents=chosen,
            epilog=EXIT_CODES,
        )
        sub.set_defaults(function=function)
        return sub

    sub = command(
        "list", list_command, "the registered models with their closed-form counts", "plugin"
    )
    sub.add_argument("--json", action="store_true", help="a list of objects")
    sub = command(
        "cost",
        cost_command,
        "parameters and MACs, counted on the built models and checked; no training",
        "plugin",
    )
    sub.add_argument("models", nargs="*", metavar="MODEL", help="(all listed)")
    sub.add_argument("--json", action="store_true", help="a list of objects")
    sub = command(
        "check", check_command, "the contract tests on one model, in plain words", "plugin"
    )
    sub.add_argument("model", metavar="MODEL")
    sub = command(
        "train",
        train_command,
        "train models and write a record for each run",
        "data plugin device places",
    )
    sub.add_argument("models", nargs="+", metavar="MODEL")
    _recipe_options(sub)
    sub = command(
        "evaluate", evaluate_command, "the test error of a checkpoint", "data plugin device places"
    )
    sub.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    sub = command("export", export_command, "the weights of a checkpoint as safetensors", "plugin")
    sub.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    sub.add_argument("out", type=Path, metavar="OUT")
    sub.add_argument(
        "--materialize", action="store_true", help="stored kernels: loads into the plain network"
    )
    sub = command(
        "throughput",
        throughput_command,
        "images per second in training and inference, by the timing protocol",
        "plugin device places",
    )
    sub.add_argument("models", nargs="*", metavar="MODEL", help="one record each")
    sub.add_argument(
        "--pair",
        metavar="MODEL",
        help="instead, the ratio of a model to its plain pair, in turns, after a null run",
    )
    sub.add_argument(
        "--profile",
        action="store_true",
        help="instead, the operators of a training step by their share of its time",
    )
    _speed_options(sub)
    sub = command(
        "compare",
        compare_command,
        "a pair's speed against code as others write it, in turns",
        "device places",
    )
    sub.add_argument(
        "model",
        nargs="?",
        default="hyper_resnet40_1",
        metavar="MODEL",
        help="a HyperResNet (%(default)s)",
    )
    _speed_options(sub)
    sub = command(
        "study",
        study_command,
        "trials that settle a recipe on the validation split; the test set is not read",
        "data plugin device places",
    )
    sub.add_argument(
        "study", type=Path, metavar="FILE", help="what to try (results/studies/*/study.toml)"
    )
    sub.add_argument(
        "--page",
        type=Path,
        default=Path("docs/recipes.md"),
        metavar="PAGE",
        help="the page whose tables are written (%(default)s)",
    )
    _stop_options(sub)
    sub = command("report", report_command, "regenerate the report from the records", "places")
    sub.add_argument("--dataset", metavar="D", help="one data set's name (all that have records)")
    sub.add_argument(
        "--readme",
        type=Path,
        metavar="PAGE",
        help="also rewrite the table of the paper's rows in this page",
    )
    sub = command(
        "verify",
        verify_command,
        "records and checkpoints against hashes, schema, counts and each other",
        "plugin places",
    )
    sub.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="a path, or a part of one such as digits/hyper_resnet40_1 (all)",
    )
    sub = command(
        "reproduce",
        reproduce_command,
        "the paper's table: train what is missing of the four rows, time them, report",
        "data plugin device places",
    )
    sub.add_argument(
        "models", nargs="*", metavar="MODEL", help="other models (the four rows of the paper)"
    )
    _recipe_options(sub)
    return parser


def list_command(options) -> int:
    rows = []
    for name in registry.names():
        spec = registry.get(name)
        rows.append(listing.listed(spec) if spec.closed_form else _counted(name))
    return _print_rows(rows, options.json)


def _counted(name: str) -> dict:
    from benchmarks.runs import runner

    return runner.cost(name)


def cost_command(options) -> int:
    for name in options.models:
        registry.get(name)
    return _print_rows(
        [_counted(name) for name in options.models or registry.names()], options.json
    )


def _print_rows(rows: list[dict], as_json: bool) -> int:
    if as_json:
        print(json.dumps(rows, indent=1))
        return OK
    table = [
        (
            r["model"],
            r["pair"] or "-",
            f"{r['params']:,}",
            f"{r['macs_per_image']:,}",
            f"{r['generator_macs']:,}",
            f"{r['published']['test_error']:.2f} %" if r["published"] else "-",
        )
        for r in rows
    ]
    headers = (
        "model",
        "plain pair",
        "parameters",
        "MACs/image",
        "generator MACs",
        "published error",
    )
    print(
        tabulate(table, headers, disable_numparse=True, colalign=("left", "left", *["right"] * 4))
    )
    print(
        "\n1 MAC is one multiply-add of a convolution or matrix product; FLOPs = 2 x MACs.\n"
        "Counted for ten classes; a run's record is of its data set's."
    )
    return OK


def check_command(options) -> int:
    from benchmarks.runs import check

    registry.get(options.model)
    problems = 0
    for title, problem in check.run(options.model):
        print(
            f"{'ok  ' if problem is None else 'FAIL'}  {title}"
            + (f": {problem}" if problem else "")
        )
        problems += problem is not None
    print(
        f"{options.model}: "
        + ("every check passed" if not problems else f"{problems} checks failed")
    )
    return FAILED if problems else OK


def _dataset(options):
    from benchmarks.data import datasets

    return datasets.load(
        options.dataset, options.data_dir, download=options.download, progress=sys.stderr.isatty()
    )


def _recipe(options, dataset: str) -> recipes.Recipe:
    from benchmarks.runs import runner

    recipe = recipes.load(options.recipe or recipes.default_name(dataset))
    return runner.with_overrides(recipe, options.precision, options.compile)


def _settings(options, recipe: recipes.Recipe):
    import torch

    from benchmarks.runs import runner

    if options.threads:
        torch.set_num_threads(options.threads)
    parallel = getattr(options, "parallel_seeds", 1)
    settings = runner.resolve_settings(
        options.device, recipe.precision, recipe.compile, options.deterministic, parallel
    )
    for fallback in settings.fallbacks:
        print(f"note: {fallback}", file=sys.stderr)
    return settings


def _places(options):
    from benchmarks.runs import runner

    return runner.Places(options.results_dir, options.checkpoint_dir)


def train_command(options) -> int:
    return _train(options)[0]


def _train(options) -> tuple[int, list]:
    """Train all (model, seed) that are not done; gives the exit code and all runs."""
    from benchmarks.data import datasets

    recipe = _recipe(options, datasets.dataset_name(options.dataset))
    return _train_all(
        options, [(name, recipe, seed) for name in options.models for seed in options.seeds]
    )


def _train_all(
    options, wanted: list[tuple[str, recipes.Recipe, int]], study: str | None = None
) -> tuple[int, list]:
    """Train those of (model, recipe, seed) that are not done, of one precision and compile mode; gives the exit code and all."""
    from benchmarks.runs import runner
    from benchmarks.system.stop import Stop

    for name, _, _ in wanted:
        registry.get(name)
    settings, code = _settings(options, wanted[0][1]), OK
    data = _dataset(options).to(settings.device)
    for name in dict.fromkeys(name for name, _, _ in wanted):
        runner.refuse_wrong_output(name, data.num_classes)
    stop = Stop(time.monotonic() + options.time_limit if options.time_limit else None)
    runs = [
        runner.Run(
            name,
            data,
            recipe,
            seed,
            settings,
            _places(options),
            options.plugin_sha256,
            stop,
            options.resume_changed,
            study,
        )
        for name, recipe, seed in wanted
    ]
    missing = []
    for run, ready in [(run, run.done()) for run in runs]:
        if ready:
            print(f"{run.title}: done already ({run.record_path})")
        else:
            missing.append(run)
    with stop:
        for group in runner.side_by_side(missing, getattr(options, "parallel_seeds", 1)):
            if stop():
                code = max(code, STOPPED)
            else:  # Another process may share the work, and have ended a run since.
                code = max(
                    [code, *map(_exit_code, _execute([run for run in group if not run.done()]))]
                )
    return code, runs


def _exit_code(found: "dict | ValueError") -> int:
    """Of one run: its record, or why it was refused."""
    from benchmarks.runs import runner

    if isinstance(found, dict):
        return {"ok": OK, "diverged": OK, "interrupted": STOPPED}.get(found["status"], FAILED)
    return STOPPED if isinstance(found, runner.Busy) else WRONG_INPUT


def _execute(runs: list) -> list:
    """Runs side by side with their progress: a bar each on a terminal, a line an epoch elsewhere."""
    from tqdm import tqdm

    from benchmarks.runs import runner

    bars, callbacks = [], []
    for run in runs:
        print(
            f"{run.title}: {run.settings.device.type}, {run.settings.precision}, compile {run.settings.compile}",
            flush=True,
        )
        bars.append(tqdm(leave=False, disable=not sys.stderr.isatty(), unit="step"))
        callbacks.append(_progress(bars[-1], f"seed {run.seed} " if len(runs) > 1 else ""))
    found = runner.execute_together(runs, callbacks)
    for run, bar, record in zip(runs, bars, found, strict=True):
        bar.close()
        if not isinstance(record, dict):
            print(f"error: {record}", file=sys.stderr)
        elif record["status"] == "ok":
            kind = "validation" if run.study else "test"
            error = record["val_error" if run.study else "test_error"]
            print(
                f"  {kind} error {error:.2f} %, {record['params']:,} parameters -> {run.record_path}"
            )
        else:
            print(f"  {record['status']}: {record['reason']} -> {run.record_path}")
    return found


def _progress(bar, prefix: str) -> tuple:
    def on_step(step: int, steps: int) -> None:
        if step == 1:
            bar.reset(total=steps)
        bar.update()

    def on_epoch(entry: dict, epochs: int) -> None:
        bar.write(
            f"  {prefix}epoch {entry['epoch']}/{epochs}  loss {entry['train_loss']:.3f}  train {entry['train_error']:.2f} %  "
            f"validation {entry['val_error']:.2f} %  {entry['seconds']:.1f} s"
        )
        sys.stdout.flush()

    return on_epoch, on_step


def study_command(options) -> int:
    from benchmarks.report import studies_page
    from benchmarks.runs import runner
    from benchmarks.training import studies

    study = studies.load(options.study)
    studies.refuse_elsewhere(options.study, options.results_dir)
    wanted = [
        (model, runner.with_overrides(recipe, options.precision, options.compile), seed)
        for model, recipe in study.trials
        for seed in study.seeds
    ]
    if not wanted:
        raise ValueError(f"study {options.study} has no trials")
    code, _ = _train_all(options, wanted, study.name)
    studies_page.write_page(options.results_dir, options.page)
    print(f"page: {options.page}")
    return code


def evaluate_command(options) -> int:
    from benchmarks.runs import runner, trained

    recipe = runner.with_overrides(recipes.load("smoke"), options.precision, options.compile)
    result = trained.evaluate_checkpoint(
        options.checkpoint, _dataset(options), _settings(options, recipe)
    )
    print(
        f"{result['model']} (seed {result['seed']}) on {result['dataset']}: "
        f"test error {result['test_error']:.2f} %, cross-entropy {result['test_loss']:.4f}"
    )
    if not result["same_data"]:
        print(f"note: it was trained on other data than {result['dataset']}", file=sys.stderr)
    return OK


def export_command(options) -> int:
    from benchmarks.runs import trained

    count = trained.export(options.checkpoint, options.out, options.materialize)
    print(f"{options.out}: {count} tensors")
    return OK


def _speed_setup(options) -> tuple:
    """Data, recipe, settings and protocol of `throughput` and `compare`."""
    from dataclasses import replace

    from benchmarks.data import datasets
    from benchmarks.measuring import timing
    from benchmarks.runs import runner, speed

    recipe = runner.with_overrides(recipes.load("quick"), options.precision, options.compile)
    recipe = replace(recipe, batch_size=options.batch_size or recipe.batch_size)
    settings = _settings(options, recipe)
    protocol = timing.protocol_of(settings.device)
    data = speed.timing_data(
        datasets.load("digits", options.data_dir), protocol.epoch_images, settings
    )
    return data, recipe, settings, protocol


def throughput_command(options) -> int:
    from benchmarks.runs import speed

    if bool(options.models) == bool(options.pair):
        raise ValueError("name models, or one with --pair, not both")
    if options.pair and options.profile:
        raise ValueError("--profile is of models, not of a --pair")
    for name in [*options.models, *([options.pair] if options.pair else [])]:
        registry.get(name)
    setup = _speed_setup(options)
    if options.profile:
        return _print_profiles(
            options, {name: speed.profile(name, *setup[:3]) for name in options.models}
        )
    if options.pair:
        return _print_pair(options, speed.time_pair(options.pair, *setup))
    return _time(options, options.models, *setup)


def _print_profiles(options, profiles: dict[str, list[dict]]) -> int:
    if options.json:
        print(json.dumps(profiles, indent=1))
        return OK
    for name, rows in profiles.items():
        shown = [
            (r["operator"][:70], f"{r['calls_per_step']:.1f}", f"{r['share']:.1%}")
            for r in rows
            if r["share"] >= 0.005
        ]
        print(
            tabulate(
                shown,
                (name, "calls a step", "share"),
                disable_numparse=True,
                colalign=("left", "right", "right"),
            )
        )
    return OK


def _print_pair(options, record: dict) -> int:
    path = store.save_throughput(options.results_dir, record)
    if options.json:
        print(json.dumps(record, indent=1))
        return OK
    shown = {
        "training": record,
        **{f"inference, {kind}": r for kind, r in record["inference"].items()},
    }
    rows = [
        [
            kind,
            *(_interval_text(r[key]) for key in ("null", "ratio")),
            "noisy" if r["noisy"] else "",
            len(r["attempts"]),
        ]
        for kind, r in shown.items()
    ]
    print(
        tabulate(
            rows,
            (" / ".join(record["pair"]), "null [95 %]", "ratio [95 %]", "", "attempts"),
            disable_numparse=True,
        )
    )
    print(f"-> {path}")
    return OK


def _interval_text(ratio: dict) -> str:
    return f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"


def compare_command(options) -> int:
    from benchmarks.runs import speed

    record = speed.compare(options.model, *_speed_setup(options))
    path = store.save_throughput(options.results_dir, record)
    if options.json:
        print(json.dumps(record, indent=1))
        return OK
    for kind in ("step", "epoch"):
        print(
            tabulate(
                [[name, f"{r['median']:,.0f}"] for name, r in record[kind]["rates"].items()],
                (kind, "images/s"),
            )
        )
        print(
            tabulate(
                [[name, _interval_text(r)] for name, r in record[kind]["ratios"].items()],
                (kind, "ratio [95 %]"),
            )
        )
    print(f"-> {path}")
    return OK


def _time(options, models: list[str], data, recipe, settings, protocol) -> int:
    """Time the models, one after the other, and write their records; one that cannot be timed is said, and the rest goes on."""
    from benchmarks.runs import runner, speed

    measured, code = [], OK
    for name in models:
        try:
            record = speed.time_model(name, data, recipe, settings, protocol)
        except (RuntimeError, MemoryError) as error:  # an operator's, or of memory that was refused
            if not runner.is_out_of_memory(error):
                traceback.print_exc()
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            print(f"error: {name} cannot be timed: {reason}", file=sys.stderr)
            code = FAILED
            continue
        path = store.save_throughput(
            options.results_dir, record, speed.optimizer_in_place(name, recipe)[1]
        )
        measured.append(record)
        if not options.json:
            parts = (
                f"{key.replace('_', ' ')} {m['median']:,.0f}"
                for key, m in record["measurements"].items()
            )
            print(f"{name}, images/s: {', '.join(parts)} -> {path}", flush=True)
    if options.json:
        print(json.dumps(measured, indent=1))
    return code


def verify_command(options) -> int:
    from benchmarks.runs import verify

    places = options.results_dir, options.checkpoint_dir
    chosen = verify.named(options.runs, *places) if options.runs else verify.find(*places)
    if not chosen:
        raise ValueError(f"no records or checkpoints under {places[0]} and {places[1]}")
    wrong = 0
    for path in chosen:
        for problem in verify.problems(path, *places):
            print(f"{path}: {problem}")
            wrong += 1
    records_ = sum(path.suffix == ".json" for path in chosen)
    print(f"{records_} records, {len(chosen) - records_} checkpoints: {wrong or 'nothing'} wrong")
    return FAILED if wrong else OK


def report_command(options) -> int:
    from benchmarks.report import readme
    from benchmarks.report.pages import write_report

    names = [options.dataset] if options.dataset else store.datasets(options.results_dir)
    if not names:
        raise ValueError(f"no records under {options.results_dir}; train something first")
    for name in names:
        print(f"report: {write_report(options.results_dir, options.reports_dir, name)}")
    if options.readme:
        counts = {name: listing.listed(registry.get(name)) for name in registry.PAPER_TABLE}
        readme.write(options.results_dir, options.readme, counts)
        print(f"table: {options.readme}")
    return OK


def reproduce_command(options) -> int:
    from benchmarks.measuring import timing
    from benchmarks.report.pages import write_report
    from benchmarks.runs import speed

    options.models, options.json = options.models or list(registry.PAPER_TABLE), False
    code, runs = _train(options)
    if code in (WRONG_INPUT, STOPPED):
        return code
    data, recipe, settings = runs[0].data, runs[0].recipe, runs[0].settings
    failed = {run.model for run in runs if not run.done()}
    ended = [name for name in options.models if name not in failed]
    missing = speed.untimed(ended, options.results_dir, recipe, settings)
    protocol = timing.SHORT if data.name == "digits" else timing.protocol_of(settings.device)
    timing = speed.timing_data(data, protocol.epoch_images, settings)
    code = max(code, _time(options, missing, timing, recipe, settings, protocol))
    print(f"report: {write_report(options.results_dir, options.reports_dir, data.name)}")
    return code


def main(arguments: list[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    try:
        hashes = [registry.load_plugin(path) for path in getattr(options, "plugin", [])]
        options.plugin_sha256 = ",".join(hashes) or None
        return options.function(options)
    except ValueError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_INPUT
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; run again to go on", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
