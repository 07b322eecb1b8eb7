"""Writes the labelled texts as NDJSON: {"id","split","kind","template","hints","text","spans":[{"start","end","entity"}]}.

Offsets count characters. The same seed gives the same bytes on every day. People, places and dates keep names of their own and are not scored.
"""

import argparse
import contextlib
import io
import itertools
import json
import random
import re
import sys

import templates
import values

SEED = 20260101
SENTENCES = 3_000
SPLITS = ("train", "held-out")

# Names of presidio-evaluator's labels in ours. Its dates of birth are labelled by template below, since only some of its templates say so.
EVALUATOR_ENTITIES = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "us-ssn",
    "IP_ADDRESS": "ip-address",
    "US_DRIVER_LICENSE": "us-driver-license",
}
SAYS_BIRTH = re.compile(r"date of birth|was born", re.IGNORECASE)
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=[*SPLITS, "all"], default="all")
    wanted = parser.parse_args().split
    for text in everything():
        if wanted in ("all", text["split"]):
            sys.stdout.write(json.dumps(text, ensure_ascii=False) + "\n")


def everything():
    """All texts in a fixed order, numbered within their kind."""
    rng = random.Random(SEED)
    kinds = [
        evaluator_sentences(),
        grids(rng),
        listed(rng, "body", templates.BODIES, 12, ["payload", "events"]),
        listed(rng, "terminal", templates.TERMINAL, 12, []),
        listed(rng, "innocent", templates.INNOCENT, 10, []),
        prose(rng),
    ]
    for number, text in enumerate(itertools.chain.from_iterable(kinds)):
        yield {"id": f"{text['kind']}-{number}", **text}


# --- our own texts ---


def render(rng, template):
    """Fills the placeholders of a template and returns the text with the spans of the labelled values."""
    text, spans, last = "", [], 0
    for place in PLACEHOLDER.finditer(template):
        text += template[last : place.start()]
        name = place.group(1)
        make, entity = values.VALUES[name]
        value = make(rng)
        if entity:
            span = {"start": len(text), "end": len(text) + len(value), "entity": entity}
            if name in values.UNCLAIMED_BY_PRESIDIO:
                span["unclaimed"] = True
            spans.append(span)
        text += value
        last = place.end()
    return text + template[last:], spans


def filled(rng, split, kind, template, name, hints, count):
    for _ in range(count):
        text, spans = render(rng, template)
        yield {"split": split, "kind": kind, "template": name, "hints": hints, "text": text, "spans": spans}


def prose(rng):
    for entity, halves in templates.PROSE.items():
        for split, half in zip(SPLITS, halves):
            for number, template in enumerate(half):
                count = 3 if entity == "credential" else 8
                yield from filled(rng, split, "prose", template, f"prose/{entity}/{number}", [], count)


def listed(rng, kind, halves, count, hints):
    for split, half in zip(SPLITS, halves):
        for number, template in enumerate(half):
            yield from filled(rng, split, kind, template, f"{kind}/{number}", hints, count)


def grids(rng):
    """Cells of a result, with their column and table as hints."""
    for value, halves in templates.FRIENDLY.items():
        for split, half, nameless in zip(SPLITS, halves, templates.HOSTILE):
            for table, column in half:
                yield from cells(rng, split, "grid-named", value, table, column, 12 // len(half))
            for table, column in nameless:
                yield from cells(rng, split, "grid-nameless", value, table, column, 1)
    for value, halves in templates.INNOCENT_COLUMNS.items():
        for split, half, nameless in zip(SPLITS, halves, templates.HOSTILE):
            for table, column in half:
                yield from cells(rng, split, "grid-innocent", value, table, column, 8)
            for table, column in nameless:
                yield from cells(rng, split, "grid-innocent", value, table, column, 2)


def cells(rng, split, kind, value, table, column, count):
    return filled(rng, split, kind, "{{" + value + "}}", f"{kind}/{table}.{column}/{value}", [column, table], count)


# --- presidio-evaluator's sentences ---


def evaluator_sentences():
    """Sentences from the templates in presidio-evaluator's wheel with values of its own generators, split by template."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        faker, lines = evaluator_faker()
        made = faker.generate_new_fake_sentences(num_samples=SENTENCES)
    halves = split_templates(lines)
    for sentence in made:
        template = lines[sentence.template_id]
        spans = [{"start": s.start_position, "end": s.end_position, "entity": evaluator_entity(s, template)} for s in sentence.spans]
        spans.sort(key=lambda span: span["start"])
        for span, original in zip(spans, sorted(sentence.spans, key=lambda s: s.start_position)):
            if sentence.full_text[span["start"] : span["end"]] != str(original.entity_value) and not original.entity_value.islower():
                raise ValueError(f"a label does not lie on its value: {sentence.full_text!r} {span}")
        yield {
            "split": halves[sentence.template_id],
            "kind": "sentence",
            "template": f"sentence/{sentence.template_id}",
            "hints": [],
            "text": sentence.full_text,
            "spans": spans,
        }


def evaluator_entity(span, template):
    if span.entity_type == "DATE_TIME" and SAYS_BIRTH.search(template):
        return "date-of-birth"
    return EVALUATOR_ENTITIES.get(span.entity_type, span.entity_type)


def split_templates(lines):
    """Half of the templates of every set of structured entities to each side, in order; a set with one template goes where the next in turn is."""
    groups = {}
    for number, line in enumerate(lines):
        names = frozenset(name for name in PLACEHOLDER.findall(line.lower()) if values_scored(name))
        groups.setdefault(",".join(sorted(names)), []).append(number)
    halves, turn = {}, 0
    for _, members in sorted(groups.items()):
        for number in members:
            halves[number] = SPLITS[turn % 2]
            turn += 1
    return halves


def values_scored(name):
    return name in ("credit_card_number", "iban", "phone_number", "email", "ssn", "ip_address", "us_driver_license", "date_of_birth")


def evaluator_faker():
    import numpy
    from faker import Faker
    from faker.providers import BaseProvider
    from presidio_evaluator.data_generator import presidio_sentence_faker as evaluator
    from presidio_evaluator.data_generator.faker_extensions.datasets import load_fake_person_df

    class Clockless(BaseProvider):
        """Faker's dates run up to today; these do not."""

        def date_time(self):
            return values.moment(self.generator.random)

        def date_of_birth(self):
            return values.birthday(self.generator.random)

        def year(self):
            return str(self.generator.random.randint(1970, 2026))

        def day_of_week(self):
            return self.random_element(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"))

    random.seed(SEED)
    numpy.random.seed(SEED)
    Faker.seed(SEED)
    people = load_fake_person_df()
    # The hospital provider asks the network; no template uses it. "\n" in the file stands for a line break.
    providers = [p for p in evaluator.presidio_additional_entity_providers if p.__name__ != "HospitalProvider"] + [Clockless]
    text = evaluator.presidio_templates_file_path.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip().replace("\\n", "\n") for line in text.splitlines()]
    faker = evaluator.PresidioSentenceFaker(
        "en_US", lower_case_ratio=0.05, sentence_templates=lines, entity_providers=providers, base_records=people, random_seed=SEED
    )
    return faker, lines


if __name__ == "__main__":
    main()
