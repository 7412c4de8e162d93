import numpy as np
import pytest

from {{ cookiecutter.src_package_name }} import naive
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.measure import evaluate
from {{ cookiecutter.src_package_name }}.metrics import METRICS

TRUTH = np.array(["a", "b", "b", "c", "b"], dtype=object)


def test_the_naive_answer_to_classes_is_the_most_frequent_one_with_the_shares_of_all() -> None:
    answers = naive.answers(TRUTH, ["a", "b", "c"])
    answer = answers[0]
    assert answer.values.tolist() == ["b"]
    assert sorted(each.values.item() for each in answers) == ["a", "b", "c"]  # each of which one metric may prefer
    assert answer.of("b").tolist() == [0.6]
    values = naive.evaluate(METRICS["classification"], np.array(["b", "a", "c"], dtype=object), [answer])
    assert values["accuracy"] == pytest.approx(1 / 3)
    assert values["log_loss"] == pytest.approx(-np.log([0.6, 0.2, 0.2]).mean())
    assert values["auc"] == 0.5


def test_of_the_naive_answers_to_numbers_each_metric_takes_the_one_that_is_hardest_to_beat() -> None:
    truth = np.array([0.0, 0.0, 0.0, 0.0, 10.0])  # the mean is 2, the median 0
    values = naive.evaluate(METRICS["regression"], truth, naive.answers(truth, None))
    assert values["mae"] == 2
    assert values["rmse"] == pytest.approx(np.std(truth))
    assert values["r2"] == pytest.approx(0)


def test_where_rows_follow_one_another_the_last_value_is_a_naive_answer_too() -> None:
    truth, later = np.array([1.0, 2.0, 9.0]), np.array([9.0, 9.0])
    assert naive.evaluate(METRICS["regression"], later, naive.answers(truth, None, last=9.0))["mae"] == 0
    assert naive.evaluate(METRICS["regression"], later, naive.answers(truth, None))["mae"] == 5


def test_a_metric_without_a_value_names_the_class_that_is_absent() -> None:
    absent, classes = np.array(["a", "b"], dtype=object), ["a", "b", "c"]
    auc = METRICS["classification"]["auc"]
    values = evaluate(METRICS["classification"], absent, naive.perfect(absent, classes))
    with pytest.raises(
        Problem, match="auc is not defined on the valid split: no row of class c is in it; take another"
    ):
        naive.require(auc, values, "valid", absent, classes)
    naive.require(METRICS["classification"]["log_loss"], values, "valid", absent, classes)


def test_classes_that_are_no_text_are_named_as_requests_have_them() -> None:
    sentence = naive.undefined("auc", "test", np.array([True]), [False, True])
    assert sentence == "auc is not defined on the test split: no row of class false is in it"
