"""Generates the patients of three hospitals: who is readmitted within 30 days?

The risk depends on a patient in the same way everywhere, but each hospital sees other patients. A model of
one hospital's patients therefore fails at the others.
"""

import csv
import math
import random
from typing import Any

ROWS = 5000

COLUMNS = [
    "patient_id",
    "age",
    "sex",
    "bmi",
    "creatinine",
    "crp",
    "sodium",
    "admission",
    "ward",
    "smoker",
    "readmitted",
]

# The least and the largest value of each number; of `crp`, of its logarithm.
LIMITS = {"age": (0, 102), "bmi": (11, 60), "creatinine": (15, 400), "crp": (-2, 6), "sodium": (110, 170)}

# A children's hospital, a general one, and one for old people: mean and deviation of each number (of `crp`,
# those of its logarithm), shares of each text, and the share of missing values of `crp`.
SITES: dict[str, dict[str, Any]] = {
    "hospital-a": {
        "age": (11, 5),
        "bmi": (18, 3),
        "creatinine": (45, 12),
        "crp": (1.2, 0.8),
        "sodium": (139, 3),
        "admission": {"emergency": 0.7, "elective": 0.3},
        "ward": {"pediatrics": 0.8, "surgery": 0.2},
        "smoker": {"no": 0.97, "yes": 0.03},
        "missing": 0.1,
    },
    "hospital-b": {
        "age": (48, 14),
        "bmi": (27, 5),
        "creatinine": (80, 20),
        "crp": (2.2, 1.0),
        "sodium": (140, 3),
        "admission": {"emergency": 0.4, "elective": 0.5, "transfer": 0.1},
        "ward": {"internal": 0.4, "surgery": 0.4, "cardiology": 0.2},
        "smoker": {"no": 0.65, "yes": 0.35},
        "missing": 0.0,
    },
    "hospital-c": {
        "age": (79, 8),
        "bmi": (24, 4),
        "creatinine": (115, 35),
        "crp": (3.0, 1.2),
        "sodium": (136, 4),
        "admission": {"emergency": 0.5, "transfer": 0.5},
        "ward": {"geriatrics": 0.6, "cardiology": 0.4},
        "smoker": {"no": 0.85, "yes": 0.15},
        "missing": 0.25,
    },
}


def generate(site, seed=0):
    """Return the rows of a hospital as texts, the first one with the names of the columns."""
    rng = random.Random(f"{site} {seed}")  # noqa: S311 - no secret
    return [COLUMNS, *(to_row(f"{site[-1]}{n:05}", draw_patient(SITES[site], rng)) for n in range(ROWS))]


def draw_patient(site, rng):
    """Return a patient: name of each column -> value."""
    patient = {"sex": rng.choice("fm")}
    for name, about in site.items():
        if isinstance(about, dict):
            patient[name] = rng.choices(list(about), list(about.values()))[0]
        elif name in LIMITS:
            least, largest = LIMITS[name]
            patient[name] = min(max(rng.gauss(*about), least), largest)
    is_readmitted = rng.random() < 1 / (1 + math.exp(-find_risk(patient)))
    crp = "" if rng.random() < site["missing"] else math.exp(patient["crp"])
    return {**patient, "crp": crp, "readmitted": "yes" if is_readmitted else "no"}


def find_risk(patient):
    """Return the logarithm of the odds of readmission."""
    age, sodium, creatinine = patient["age"], patient["sodium"], patient["creatinine"]
    # Infants and old people are at risk, and so are patients with too much or too little sodium.
    risk = 5.0 * math.exp(-age / 4) + 0.13 * max(age - 62, 0) + 0.18 * abs(sodium - 140) - 1.6
    # The kidneys of a child are judged by other numbers than those of adults.
    risk += 0.06 * min(max(creatinine - 35 - 0.7 * age, -40), 80)
    risk += 0.9 * (patient["crp"] - 2) * (patient["admission"] == "emergency")
    risk -= 0.8 * (patient["admission"] == "elective")
    risk += 1.5 * (patient["smoker"] == "yes") * (patient["bmi"] > 27)
    risk += 1.0 * (patient["ward"] == "cardiology") - 0.7 * (patient["ward"] == "surgery")
    return 2 * risk


def to_row(number, patient):
    """Return a row of the file."""
    values = {"patient_id": number, **patient}
    return [to_text(name, values[name]) for name in COLUMNS]


def to_text(name, value):
    """Return a value as the file has it."""
    digits = 1 if name in ("bmi", "crp") else 0
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def write(path, rows):
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
