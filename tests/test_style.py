"""Prose rules that a test can hold: docstrings, banned words, the length of the README.

Imports nothing of the code, so that it runs in a second.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("service", "training", "benchmarks", "tests", "docs", "deploy", "experiments", ".github")
SUFFIXES = {".py", ".md", ".js", ".yml", ".yaml", ".toml"}

_VERBS = """
    abort accept acquire activate adapt add admit advance aggregate align allocate allow analyse
    append apply arrange ask assemble assert assign associate attach attribute authenticate average
    await back batch begin bind block bound break build bump bypass cache calculate calibrate call
    cancel canonicalize cap capture cast catch centre change check choose claim clamp classify clean
    clear clip close collapse collate collect combine commit compact compare compile complete
    compress compute concatenate configure confirm connect consume contain continue convert copy
    correct count crash create crop cut deactivate decide decode decompress decrease dedent
    deduplicate define delay delete deliver demote deny depend derive describe deserialize destroy
    detach detect determine disable discard disconnect dispatch display distribute divide document
    download drain draw drop dump duplicate embed emit empty enable encode end enforce enqueue
    ensure enter enumerate erase escape estimate evaluate evict examine exchange exclude execute
    exit expand expect expire explain export expose extend extract fail fake fetch fill filter find
    finish fit fix flag flatten flip flush fold follow forget format forward free freeze gather
    generate get give group grow guard guess handle hash hide hold identify ignore import include
    increase increment index indicate infer initialize insert inspect install instantiate interleave
    interpolate intersect interrupt invalidate invert invoke isolate iterate join keep kill label
    launch lay leave lend let limit link list listen load locate lock log look lookup lower make map
    mark mask match maximize measure merge minimize mirror mix modify monitor move multiply mutate
    name negate normalize normalise notify observe obtain offer open order overlay overwrite pack
    pad paint pair parse partition pass paste patch pause perform permute persist pick pin place
    plan plot poll pop populate post predict preload prepare prepend preprocess preserve prevent
    print probe process produce profile project propagate protect prove provide prune publish pull
    push put quantize query queue quote raise randomize rank read rebind rebuild receive recommend
    record recover reduce re-embed reembed refer reformat refresh refuse register reject release
    reload remove rename render repeat replace report request require rerun reschedule rescore
    reserve reset reshape resize resolve respond restart restore resume retain retire retrain retry
    return reuse reverse revert revoke rewind rewrite rotate round route run sample saturate save
    scale scan schedule score search seed select send separate serialize serve set shift show shrink
    shuffle shut shutdown sign silence simulate skip sleep slice smooth snapshot solve sort spawn
    split square stack stage standardize start state stop store stream stretch strip study submit
    subtract sum summarize suppress suspend swap switch synchronize take terminate test throw tile
    time toggle trace track train transfer transform translate transpose traverse trim truncate try
    tune turn undo unlink unlock unpack unregister unwrap update upgrade upload upsert use validate
    verify visit wait walk warm warn weigh withdraw wrap write yield zero
"""
VERBS = frozenset(_VERBS.split())
"""First words that a docstring of a function may have."""

BANNED = re.compile(
    r"\b(whoever|whosoever|whomever|nobody|somebody|meanwhile|anew|wherever|whatever"
    r"|guests?|kin|be it|for ever|gives? way|looked for beside)\b",
    re.IGNORECASE,
)
MOTTO = "and its kin"
WORDS, MEAN, LONGEST = 650, 18, 30

_DOCSTRINGS = """
    benchmarks/serving/roofline.py
    service/client/__main__.py
    service/client/client.py
    service/client/endpoints.py
    service/client/gallery.py
    service/client/gallery_endpoints.py
    service/client/retries.py
    service/client/upload.py
    service/concurrency.py
    service/engine/backends/base.py
    service/engine/backends/factory.py
    service/engine/backends/int8.py
    service/engine/backends/openvino_cpu.py
    service/engine/backends/torch_eager.py
    service/engine/backends/torch_graphs.py
    service/engine/engine.py
    service/engine/queue.py
    service/engine/types.py
    service/gallery/backup.py
    service/gallery/bundle_images.py
    service/gallery/local/compaction.py
    service/gallery/local/gallery.py
    service/gallery/local/gpu_search.py
    service/gallery/local/snapshot.py
    service/gallery/local/sqlite.py
    service/gallery/local/store.py
    service/gallery/local/updates.py
    service/gallery/local/writer.py
    service/gallery/milvus/address.py
    service/gallery/milvus/bundle_sync.py
    service/gallery/milvus/client_pool.py
    service/gallery/milvus/collection.py
    service/gallery/milvus/expressions.py
    service/gallery/milvus/gallery.py
    service/gallery/milvus/projection.py
    service/gallery/milvus/rows.py
    service/gallery/milvus/search.py
    service/gallery/protocol.py
    service/gallery/segment.py
    service/gallery/types.py
    service/http/codecs/images.py
    service/http/codecs/ingest.py
    service/http/codecs/json_body.py
    service/http/inference.py
    service/http/middleware/admission.py
    service/http/routes/gallery_updates.py
    service/images.py
    service/server/connection.py
    service/server/process.py
    service/server/reembed.py
    service/server/reload.py
    service/server/startup.py
    service/state.py
    service/vectors.py
    training/bundle/writer.py
    training/experiments/aggregate.py
    training/experiments/catalogue.py
    training/experiments/config.py
    training/experiments/environment.py
    training/experiments/record.py
    training/experiments/reports/curves_svg.py
    training/experiments/reports/figures.py
    training/experiments/reports/markdown.py
    training/experiments/reports/release_chapter.py
    training/experiments/reports/results.py
    training/trainer/augmentation.py
    training/trainer/build.py
    training/trainer/diagnostics.py
    training/trainer/evaluation.py
    training/trainer/fit.py
    training/trainer/optimizers.py
    training/trainer/run.py
    training/trainer/train_step.py
    training/workflows/progress.py
    training/workflows/release.py
    training/workflows/retrieval_metrics.py
    training/workflows/workspace.py
"""
_BANNED_WORDS = """
    service/client/__main__.py
    service/client/client.py
    service/client/upload.py
    service/concurrency.py
    service/engine/backends/base.py
    service/engine/backends/factory.py
    service/engine/backends/torch_eager.py
    service/engine/backends/torch_graphs.py
    service/engine/engine.py
    service/engine/queue.py
    service/engine/types.py
    service/gallery/backup.py
    service/gallery/local/compaction.py
    service/gallery/local/gallery.py
    service/gallery/local/gpu_search.py
    service/gallery/local/snapshot.py
    service/gallery/local/sqlite.py
    service/gallery/local/store.py
    service/gallery/local/writer.py
    service/gallery/milvus/bundle_sync.py
    service/gallery/milvus/collection.py
    service/gallery/milvus/expressions.py
    service/gallery/milvus/gallery.py
    service/gallery/milvus/projection.py
    service/gallery/milvus/rows.py
    service/gallery/protocol.py
    service/gallery/types.py
    service/http/codecs/images.py
    service/http/inference.py
    service/http/middleware/admission.py
    service/http/middleware/state.py
    service/http/routes/gallery_updates.py
    service/images.py
    service/server/connection.py
    service/server/process.py
    service/server/reembed.py
    service/server/reload.py
    service/server/startup.py
    service/state.py
    service/vectors.py
    tests/browser/test_accessibility.py
    tests/browser/test_predict.py
    tests/service/client/test_client.py
    tests/service/engine/test_backends.py
    tests/service/engine/test_search_stage.py
    tests/service/gallery/test_client_pool.py
    tests/service/gallery/test_concurrent_removal.py
    tests/service/gallery/test_crash_safety.py
    tests/service/gallery/test_local.py
    tests/service/http/test_admission.py
    tests/service/http/test_gallery_updates.py
    tests/service/server/test_process.py
    tests/service/server/test_reload.py
    tests/service/test_concurrency.py
    tests/support/processes.py
    tests/support/synthetic/__init__.py
    tests/test_deployment.py
    tests/test_many_classes.py
    tests/training/trainer/test_fit.py
    tests/training/trainer/test_optimizers.py
    training/experiments/reports/results.py
    training/trainer/augmentation.py
    training/workflows/release.py
    training/workflows/workspace.py
"""
NOT_YET = {"docstrings": _DOCSTRINGS.split(), "words": _BANNED_WORDS.split()}
"""Files that are still to be rewritten; must end up empty."""


def docstrings(file: Path) -> Iterator[str]:
    """Yield the docstrings of the functions in a file, without those of properties."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_property = any("property" in ast.unparse(one) for one in node.decorator_list)
            if not is_property and (text := ast.get_docstring(node)):
                yield text


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_docstrings_of_functions_begin_with_an_imperative_verb() -> None:
    wrong: dict[str, list[str]] = {}
    for folder in ("service", "training", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            for text in docstrings(file):
                first = re.match(r"[\w-]*", text)
                if not first or first.group().lower() not in VERBS:
                    wrong.setdefault(name(file), []).append(text.splitlines()[0])
    assert {at: lines for at, lines in wrong.items() if at not in NOT_YET["docstrings"]} == {}


def test_no_file_has_a_banned_word() -> None:
    inner = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*"))
    wrong: dict[str, set[str]] = {}
    for file in [*inner, *ROOT.iterdir()]:
        if file == Path(__file__) or not (file.suffix in SUFFIXES or file.name == "Makefile"):
            continue
        text = file.read_text(encoding="utf-8").replace(MOTTO, "")
        if found := set(map(str.lower, BANNED.findall(text))):
            wrong[name(file)] = found
    assert {at: words for at, words in wrong.items() if at not in NOT_YET["words"]} == {}


def readme() -> str:
    """Return the README without code blocks, tables, images and the targets of links."""
    text = re.sub(
        r"```.*?```", "\n\n", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S
    )
    text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"!?\[(.*?)\]\([^)]*\)", r"\1", text, flags=re.DOTALL)


def sentences() -> Iterator[int]:
    """Yield the number of words of each sentence of the README."""
    for block in re.split(r"\n\s*\n|^\s*[-\d]+[.]?\s|^#+.*$", readme(), flags=re.MULTILINE):
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z`*\[(])", " ".join(block.split())):
            if (count := len(re.findall(r"[\w`'./-]*\w[\w`'./-]*", sentence))) > 1:
                yield count


def test_the_readme_is_short() -> None:
    assert len(readme().split()) <= WORDS


def test_the_sentences_of_the_readme_are_short() -> None:
    counts = list(sentences())
    assert sum(counts) / len(counts) <= MEAN
    assert max(counts) <= LONGEST
