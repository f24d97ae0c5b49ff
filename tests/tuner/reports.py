"""Reports read back as pages, and a study whose every name is an attack."""

from html.parser import HTMLParser

import optuna
from optuna.trial import TrialState, create_trial

from tuner.report.html import write_report

NASTY = (
    "<script>document.title='run'</script>",
    "\"><img src=x onerror=document.title='run'>",
    "</script><script>document.title='run'</script>",
    "' onmouseover='run' & {{ 7 * 7 }} $\\frac$",
)


class Page(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.texts = [], []
        self.feed(self.source)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def report_of(study, folder, **options):
    return Page(write_report(study, folder / "study.html", **options))


def nasty_study():
    study = optuna.create_study(study_name=" ".join(NASTY), direction="maximize")
    study.set_user_attr(
        "fusetune",
        {"metric": NASTY[1], "sampler": NASTY[0], "space": {NASTY[0]: {"choices": list(NASTY)}}},
    )
    study.set_user_attr(
        "call",
        {"function": "tune_mlp", "dataset": {"path": NASTY[0]}, "options": {"target": NASTY[1]}},
    )
    choices = optuna.distributions.CategoricalDistribution(NASTY)
    for value, text in enumerate(NASTY * 2):
        study.add_trial(
            create_trial(
                value=float(value),
                params={name: text for name in NASTY},
                distributions={name: choices for name in NASTY},
                user_attrs={"stopped": text},
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "\x00 ".join(NASTY)}))
    return study
