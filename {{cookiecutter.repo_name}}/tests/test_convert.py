"""What becomes ONNX, and what does not: the table, on rows with missing numbers, rare and unseen values."""

import re
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import xgboost
from skl2onnx.sklapi import CastTransformer
from sklearn import ensemble as en
from sklearn import linear_model as lm
from sklearn import preprocessing as pp
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from {{ cookiecutter.src_package_name }}.convert import to_onnx
from {{ cookiecutter.src_package_name }}.converters import rounded_down
from {{ cookiecutter.src_package_name }}.errors import Problem

ROWS = 300
TOLERANCE = 1e-4
NUMBERS = ["width", "height", "account"]
CATEGORIES = ["color", "size"]
KINDS: dict[str, str] = {
    **dict.fromkeys(NUMBERS, "number"),
    **dict.fromkeys(CATEGORIES, "category"),
    "note": "text",
}
WORDS = ["größe", "don't", "x2", "1", "a", "naïve", "straße—café", "snake_case", "日本語", "über-all", "plain"]


def table(rows: int, seed: int, colors: list[str]) -> pd.DataFrame:
    """Numbers, one of ten digits and one with gaps; categories, "" where missing; and texts, some of them empty."""
    rng = np.random.default_rng(seed)
    width = rng.normal(50, 10, rows)
    odds = np.array([1.0] + [30.0] * 3 + [0.7] * (len(colors) - 4))
    return pd.DataFrame(
        {
            "width": width,
            "height": np.where(rng.random(rows) < 0.15, np.nan, width + rng.normal(0, 5, rows)),
            "account": rng.integers(10**9, 10**9 + 64, rows).astype(float),
            "color": rng.choice(np.array(colors, dtype=object), rows, p=odds / odds.sum()),
            "size": rng.choice(np.array(["S", "M", "L", ""], dtype=object), rows),
            "note": [" ".join(rng.choice(WORDS, rng.integers(0, 5))) for _ in range(rows)],
        }
    ).astype({name: object for name, kind in KINDS.items() if kind != "number"})


SEEN = ["", "red", "green", "blue", "rare", "rarer", "rarest"]
TRAIN = table(ROWS, 1, SEEN)
ASKED = table(200, 2, [*SEEN, "unseen", "été"])
ASKED.loc[:3, NUMBERS] = np.nan  # where training had none missing, too


def target(rows: pd.DataFrame, classes: int | None) -> Any:
    rng = np.random.default_rng(0)
    rows = rows.fillna({"width": 50, "account": 0})
    value = rows["width"] + 8 * (rows["account"] % 2) + 5 * (rows["color"] == "red") + rng.normal(0, 3, len(rows))
    return value.to_numpy() if classes is None else pd.qcut(value, classes, labels=False).to_numpy()


def numbers(*steps: Any) -> Any:
    return make_pipeline(pp.StandardScaler(), CastTransformer(dtype=np.float32), *steps)


GAPS = numbers()
FILLED = numbers(SimpleImputer(strategy="median", keep_empty_features=True))
ONE_HOT = pp.OneHotEncoder(
    min_frequency=10, handle_unknown="infrequent_if_exist", sparse_output=False, dtype=np.float32
)
ORDINAL = pp.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)
TARGET = make_pipeline(pp.TargetEncoder(), CastTransformer(dtype=np.float32))


def piped(estimator: Any, number: Any = FILLED, category: Any = ONE_HOT, text: Any = None) -> Pipeline:
    steps = [("number", number, NUMBERS), ("category", category, CATEGORIES)]
    steps += [("text_note", text, "note")] if text is not None else []
    return Pipeline([("inputs", ColumnTransformer(steps, sparse_threshold=0)), ("estimator", estimator)])


def asked(model: Any, rows: pd.DataFrame) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {name: rows[[name]].to_numpy() for name in rows})


def difference(pipeline: Pipeline, outputs: list[Any], rows: pd.DataFrame) -> float:
    """The largest difference, relative where values are large; infinite if a class differs that is not a tie."""
    values = pipeline.predict(rows)
    if hasattr(pipeline, "predict_proba"):
        labels, given = outputs
        assert labels.dtype == np.int64
        expected = pipeline.predict_proba(rows)
        best = np.sort(expected, axis=1)
        if (labels != values)[best[:, -1] - best[:, -2] > TOLERANCE].any():
            return float("inf")
    elif hasattr(pipeline, "classes_"):
        (given,), expected = outputs, values
    else:
        given, expected = outputs[0].reshape(-1), values
    assert given.shape == expected.shape
    return float(np.max(np.abs(given - expected) / np.maximum(1, np.abs(expected))))


def outcome(pipeline: Pipeline, classes: int | None) -> str:
    used = [name for _, _, names in pipeline[0].transformers for name in ([names] if names == "note" else names)]
    pipeline = clone(pipeline).fit(TRAIN[used], target(TRAIN, classes))
    try:
        model = to_onnx(pipeline, {name: KINDS[name] for name in used}, classes)
    except Problem as problem:
        return "refused" if re.fullmatch(r"\w+ has no ONNX form \(.+\); keep it with .+", str(problem)) else "badly put"
    gap = difference(pipeline, asked(model, ASKED[used]), ASKED[used])
    return "equal" if gap < TOLERANCE else "different"


def boosting(**params: Any) -> Any:
    return en.HistGradientBoostingClassifier(max_iter=10, **params)


def boosting_for_numbers(**params: Any) -> Any:
    return en.HistGradientBoostingRegressor(max_iter=10, **params)


def forest(**params: Any) -> Any:
    return en.RandomForestClassifier(5, random_state=0, **params)


def xgb(**params: Any) -> Any:
    return xgboost.XGBClassifier(n_estimators=10, n_jobs=1, **params)


def xgb_for_numbers(**params: Any) -> Any:
    return xgboost.XGBRegressor(n_estimators=10, n_jobs=1, **params)


def lgbm(**params: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1, **params)


def lgbm_for_numbers(**params: Any) -> Any:
    return lightgbm.LGBMRegressor(n_estimators=10, n_jobs=1, verbose=-1, **params)


def logistic(**params: Any) -> Any:
    return lm.LogisticRegression(max_iter=300, **params)


def of_log(regressor: Any, func: Any = np.log, inverse_func: Any = np.exp) -> Any:
    return TransformedTargetRegressor(regressor, func=func, inverse_func=inverse_func)


def tfidf(**params: Any) -> Any:
    return TfidfVectorizer(**{"lowercase": False, "max_features": 20, "dtype": np.float32} | params)


CODES = pp.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, dtype=np.float32)
BOTH = [("forest", forest()), ("xgb", xgb()), ("lgbm", lgbm()), ("boosting", boosting())]
BOTH_FOR_NUMBERS = [("xgb", xgb_for_numbers()), ("lgbm", lgbm_for_numbers()), ("tree", DecisionTreeRegressor())]

# What stands behind columns that are scaled, cast to single precision and filled, for three and two classes.
CLASSIFIERS = {
    "boosting": boosting(),
    "boosting, stopped early": boosting(early_stopping=True, n_iter_no_change=2, random_state=0),
    "forest": forest(class_weight="balanced"),
    "extra trees": en.ExtraTreesClassifier(5, random_state=0),
    "gradient boosting": en.GradientBoostingClassifier(n_estimators=5, random_state=0),
    "adaboost": en.AdaBoostClassifier(n_estimators=5, random_state=0),
    "bagging": en.BaggingClassifier(lgbm(), n_estimators=2, random_state=0),
    "tree": DecisionTreeClassifier(random_state=0),
    "neighbours": KNeighborsClassifier(),
    "bayes": GaussianNB(),
    "support vectors": SVC(),
    "calibrated support vectors": CalibratedClassifierCV(SVC(), cv=2),
    "linear support vectors": LinearSVC(),
    "ridge": lm.RidgeClassifier(),
    "perceptron": lm.Perceptron(),
    "network": MLPClassifier((8,), max_iter=20, random_state=0),
    "logistic": logistic(class_weight="balanced"),
    "stacking": en.StackingClassifier(BOTH, logistic(), cv=2),
    "stacking with the inputs": en.StackingClassifier(BOTH[:1], logistic(), cv=2, passthrough=True),
    "voting": en.VotingClassifier(BOTH, voting="soft"),
    "voting by majority": en.VotingClassifier(BOTH),
    "calibrated": CalibratedClassifierCV(forest(), cv=2),
    "calibrated boosting": CalibratedClassifierCV(boosting(), cv=2),
    "calibrated xgboost": CalibratedClassifierCV(xgb(), cv=2),
    "calibrated lightgbm": CalibratedClassifierCV(lgbm(), cv=2),
    "xgboost": xgb(),
    "xgboost with a base score": xgb(base_score=0.3),
    "xgboost that finds no split": xgb(gamma=1000),
    "lightgbm": lgbm(class_weight="balanced"),
    "lightgbm dart": lgbm(boosting_type="dart"),
}
REGRESSORS = {
    "boosting": boosting_for_numbers(),
    "boosting for a median": boosting_for_numbers(loss="absolute_error"),
    "boosting for a quantile": boosting_for_numbers(loss="quantile", quantile=0.9),
    "boosting for counts": boosting_for_numbers(loss="poisson"),
    "boosting for amounts": boosting_for_numbers(loss="gamma"),
    "forest": en.RandomForestRegressor(5, random_state=0),
    "extra trees": en.ExtraTreesRegressor(5, random_state=0),
    "gradient boosting for a quantile": en.GradientBoostingRegressor(n_estimators=5, loss="quantile", random_state=0),
    "adaboost": en.AdaBoostRegressor(n_estimators=5, random_state=0),
    "bagging": en.BaggingRegressor(lgbm_for_numbers(), n_estimators=2, random_state=0),
    "neighbours": KNeighborsRegressor(),
    "ridge": lm.Ridge(),
    "huber": lm.HuberRegressor(),
    "quantile": lm.QuantileRegressor(alpha=0.1),
    "poisson": lm.PoissonRegressor(),
    "support vectors": SVR(),
    "network": MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, random_state=0),
    "stacking": en.StackingRegressor(BOTH_FOR_NUMBERS, cv=2),
    "voting": en.VotingRegressor(BOTH_FOR_NUMBERS),
    "log of ridge": of_log(lm.Ridge()),
    "log of boosting": of_log(boosting_for_numbers(), np.log1p, np.expm1),
    "log of lightgbm": of_log(lgbm_for_numbers()),
    "log in a stack": en.StackingRegressor([("log", of_log(xgb_for_numbers())), ("ridge", lm.Ridge())], cv=2),
    **{f"xgboost {loss}": xgb_for_numbers(objective=loss) for loss in ("reg:squarederror", "count:poisson")},
    "xgboost quantile": xgb_for_numbers(objective="reg:quantileerror", quantile_alpha=0.9),
    **{f"lightgbm {loss}": lgbm_for_numbers(objective=loss) for loss in ("l2", "l1", "poisson", "quantile")},
}
# Boosting takes missing numbers as they are.
GAPPED: list[tuple[Any, int | None]] = [
    *[(make(), classes) for make in (boosting, xgb, lgbm) for classes in (3, 2)],
    *[(make(), None) for make in (boosting_for_numbers, xgb_for_numbers, lgbm_for_numbers)],
]
STEPS = {
    "categories as they are": piped(
        logistic(), category=pp.OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    ),
    "frequent categories": piped(boosting()),
    "few categories": piped(
        logistic(), category=pp.OneHotEncoder(max_categories=3, handle_unknown="infrequent_if_exist")
    ),
    "one category for all": piped(
        logistic(), category=pp.OneHotEncoder(max_categories=1, handle_unknown="infrequent_if_exist")
    ),
    "rare ones apart from unseen": piped(
        logistic(), category=pp.OneHotEncoder(min_frequency=10, handle_unknown="ignore")
    ),
    "codes": piped(boosting(), category=ORDINAL),
    "target encoding": piped(logistic(), category=TARGET),
    "texts": piped(logistic(), text=tfidf()),
    "texts and trees": piped(lgbm(), text=tfidf()),
    "pairs of words": piped(logistic(), text=tfidf(ngram_range=(1, 2))),
    "all words": piped(logistic(), text=tfidf(token_pattern=r"(?u)\b\w+\b")),
    "words of some letters": piped(logistic(), text=tfidf(token_pattern="[a-zäöüßï]+")),
    "bins": piped(logistic(), numbers(SimpleImputer(), pp.KBinsDiscretizer(encode="onehot-dense"))),
    "polynomials": piped(logistic(), numbers(SimpleImputer(), pp.PolynomialFeatures())),
    "powers": piped(logistic(), numbers(SimpleImputer(), pp.PowerTransformer())),
    "components": piped(logistic(), numbers(SimpleImputer(), PCA(2))),
}
REFUSED = {
    "infrequent categories without the first": piped(
        logistic(), category=pp.OneHotEncoder(max_categories=3, drop="first", handle_unknown="infrequent_if_exist")
    ),
    "filled in double precision": piped(logistic(), make_pipeline(SimpleImputer(), pp.StandardScaler())),
    "trees in double precision": piped(boosting(), pp.StandardScaler(), ORDINAL),
    "filled by neighbours": piped(logistic(), numbers(KNNImputer())),
    "splines": piped(logistic(), numbers(SimpleImputer(), pp.SplineTransformer())),
    "a function": piped(logistic(), numbers(SimpleImputer(), pp.FunctionTransformer(np.abs))),
    "lower case": piped(logistic(), text=tfidf(lowercase=True)),
    "letters": piped(logistic(), text=tfidf(analyzer="char")),
    "words by a pattern of Python's": piped(logistic(), text=tfidf(token_pattern=r"\w\S*")),
    "pairs without some words": piped(logistic(), text=tfidf(ngram_range=(1, 2), stop_words=["plain"])),
    "logarithms of counts": piped(logistic(), text=tfidf(sublinear_tf=True)),
    "hashed words": piped(logistic(), text=HashingVectorizer(lowercase=False, n_features=16)),
    "calibrated in steps": piped(CalibratedClassifierCV(forest(), cv=2, method="isotonic")),
    "calibrated by temperature": piped(CalibratedClassifierCV(forest(), cv=2, method="temperature")),
    "xgboost with another missing": piped(xgb(missing=0)),
    "xgboost dart": piped(xgb(booster="dart")),
    "xgboost forests": piped(xgb(num_parallel_tree=2)),
}
REFUSED_FOR_NUMBERS = {
    "root": of_log(lm.Ridge(), np.sqrt, np.square),
    "scaled target": TransformedTargetRegressor(lm.Ridge(), transformer=pp.StandardScaler()),
    "lightgbm mape": lgbm_for_numbers(objective="mape"),
}
# Converted wrongly and without an error: the proof of equality refuses these.
DIFFERENT: dict[str, tuple[Pipeline, int | None]] = {
    "categories by their codes": (piped(boosting(categorical_features=[3, 4]), GAPS, CODES), 3),
    "forest with gaps": (piped(forest(), GAPS), 3),
    "gaps marked": (piped(logistic(), numbers(SimpleImputer(add_indicator=True))), 3),
    "discriminant of two classes": (piped(LinearDiscriminantAnalysis()), 2),
    "lightgbm forest": (piped(lgbm(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5)), 3),
    "lightgbm linear trees": (piped(lgbm(linear_tree=True)), 3),
    "lightgbm one class against the rest": (piped(lgbm(objective="multiclassova")), 3),
    "lightgbm root": (piped(lgbm_for_numbers(reg_sqrt=True)), None),
}


@pytest.mark.parametrize("classes", [3, 2])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_it_did(name: str, classes: int) -> None:
    assert outcome(piped(CLASSIFIERS[name]), classes) == "equal"


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_answers_as_it_did(name: str) -> None:
    assert outcome(piped(REGRESSORS[name]), None) == "equal"


@pytest.mark.parametrize(("estimator", "classes"), GAPPED)
def test_boosting_takes_missing_numbers_as_they_are(estimator: Any, classes: int | None) -> None:
    assert outcome(piped(estimator, GAPS), classes) == "equal"


@pytest.mark.parametrize("name", STEPS)
def test_a_step_does_as_it_did(name: str) -> None:
    assert outcome(STEPS[name], 3) == "equal"


@pytest.mark.parametrize("classes", [2, None])
def test_target_encoding_is_one_number_for_two_classes_or_a_regression(classes: int | None) -> None:
    assert outcome(piped(lm.Ridge() if classes is None else logistic(), category=TARGET), classes) == "equal"


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_in_a_line(name: str) -> None:
    assert outcome(REFUSED[name], 3) == "refused"


@pytest.mark.parametrize("name", REFUSED_FOR_NUMBERS)
def test_a_regression_without_a_form_is_refused_in_a_line(name: str) -> None:
    assert outcome(piped(REFUSED_FOR_NUMBERS[name]), None) == "refused"


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_is_known_to_be_wrong_is_still_wrong(name: str) -> None:
    """If one fails, an upgrade has mended it: move it up to what is equal."""
    assert outcome(*DIFFERENT[name]) == "different"


def test_a_refusal_names_the_step() -> None:
    pipeline = REFUSED["splines"].fit(TRAIN, target(TRAIN, 3))
    with pytest.raises(Problem, match=r"^SplineTransformer has no ONNX form \(.*\); keep it with export.format=skops$"):
        to_onnx(pipeline, {name: KINDS[name] for name in NUMBERS + CATEGORIES}, 3)


@pytest.mark.parametrize("make", [xgb, lgbm, xgb_for_numbers, lgbm_for_numbers])
@pytest.mark.parametrize("classes", [3, 2])
def test_boosting_that_stopped_early_answers_by_its_best_round(make: Callable[..., Any], classes: int) -> None:
    """The fit goes on for some rounds before it stops, and those count for nothing."""
    stops: dict[str, Any] = {"early_stopping_rounds": 5} if make in (xgb, xgb_for_numbers) else {}
    pipeline = piped(make(learning_rate=1.0, **stops).set_params(n_estimators=60), GAPS)
    truth = classes if make in (xgb, lgbm) else None
    rows = pipeline[0].fit_transform(TRAIN, target(TRAIN, truth))
    judged, judges = pipeline[0].transform(ASKED), target(ASKED, truth)
    seen = {"eval_set": [(judged, judges)], "verbose": False} if stops else {"eval_X": judged, "eval_y": judges}
    if not stops:
        seen["callbacks"] = [lightgbm.early_stopping(5, verbose=False)]
    pipeline[-1].fit(rows, target(TRAIN, truth), **seen)
    if stops:
        assert pipeline[-1].best_iteration + 1 < pipeline[-1].get_booster().num_boosted_rounds() < 60
    else:  # LightGBM drops the rounds after the best
        assert pipeline[-1].best_iteration_ < 60
    used = NUMBERS + CATEGORIES
    outputs = asked(to_onnx(pipeline, {name: KINDS[name] for name in used}, truth), ASKED[used])
    assert difference(pipeline, outputs, ASKED[used]) < TOLERANCE


NEIGHBOURS = {
    "tree": DecisionTreeClassifier(),
    "boosting": boosting(min_samples_leaf=1, max_leaf_nodes=None),
    "lightgbm": lgbm(min_child_samples=1, min_data_in_bin=1, num_leaves=64),
    "xgboost": xgb(max_depth=8, min_child_weight=0),
    "trees in a bag": en.BaggingClassifier(DecisionTreeClassifier(), n_estimators=2, random_state=0),
    "trees in a vote": en.VotingClassifier([("tree", DecisionTreeClassifier())], voting="soft"),
    "trees in a stack": en.StackingClassifier([("tree", DecisionTreeClassifier())], logistic(), cv=2),
    "trees calibrated": CalibratedClassifierCV(DecisionTreeClassifier(), cv=2),
    "gradient boosting": en.GradientBoostingClassifier(n_estimators=3, max_depth=8),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_numbers_that_lie_next_to_each_other_part_where_they_did(name: str) -> None:
    """A threshold between two of them is in single precision one or the other."""
    rng = np.random.default_rng(0)
    place = rng.permutation(np.arange(64).repeat(8))
    rows = pd.DataFrame({"x": 8 + place * 2.0**-20})
    inputs = ColumnTransformer([("number", CastTransformer(dtype=np.float32), ["x"])])
    odd = rng.permutation(np.arange(64) % 2)[place]
    pipeline = Pipeline([("inputs", inputs), ("estimator", clone(NEIGHBOURS[name]))]).fit(rows, odd)
    assert pipeline.score(rows, odd) > 0.8
    assert difference(pipeline, asked(to_onnx(pipeline, {"x": "number"}, 2), rows), rows) < TOLERANCE


def test_ten_digits_are_told_apart() -> None:
    """Odd and even accounts, which single precision cannot hold."""
    even = (TRAIN["account"] % 2 == 0).to_numpy().astype(int)
    deep = DecisionTreeClassifier(random_state=0)
    pipeline = Pipeline([("inputs", ColumnTransformer([("number", FILLED, ["account"])])), ("estimator", deep)])
    pipeline.fit(TRAIN[["account"]], even)
    labels, _ = asked(to_onnx(pipeline, {"account": "number"}, 2), TRAIN[["account"]])
    assert (labels == even).all()


NAMES = [
    "class",
    "Bill length (mm)",
    "größe",
    "a b",
    "a_b",
    "a-b",
    "label",
    "probabilities",
    "transformed_column",
    "label1",
    "label_",
    "1",
]


@pytest.mark.parametrize("names", [NAMES, [f"column {number}" for number in range(300)]])
def test_inputs_have_the_names_of_the_columns(names: list[str]) -> None:
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, len(names))), columns=names)
    rows["模型"] = np.array(["ja", "nein", ""] * 20, dtype=object)
    columns = ColumnTransformer([("number", FILLED, names), ("category", ORDINAL, ["模型"])], sparse_threshold=0)
    pipeline = Pipeline([("inputs", columns), ("estimator", logistic())]).fit(rows, np.arange(60) % 3)
    model = to_onnx(pipeline, {**dict.fromkeys(names, "number"), "模型": "category"}, 3)
    assert [value.name for value in model.graph.input] == [*names, "模型"]
    assert difference(pipeline, asked(model, rows), rows) < TOLERANCE


@pytest.mark.parametrize(
    "notes", [["", ""], ["unseen"], ["größe größe", "Größe", "x2 - 1"], ["½ x² ٣٤ e\u0301a", "a\u00a0bc\x0bd"]]
)
def test_words_are_found_as_python_finds_them(notes: list[str]) -> None:
    pipeline = STEPS["texts"].fit(TRAIN, target(TRAIN, 3))
    rows = pd.concat([TRAIN.head(len(notes)).drop(columns="note"), pd.Series(notes, name="note", dtype=object)], axis=1)
    assert difference(pipeline, asked(to_onnx(pipeline, KINDS, 3), rows), rows) < TOLERANCE


def test_a_pipeline_is_left_as_it_was() -> None:
    pipeline = piped(en.VotingClassifier(BOTH, voting="soft")).fit(TRAIN, target(TRAIN, 3))
    before = pipeline.predict_proba(ASKED)
    to_onnx(pipeline, {name: KINDS[name] for name in NUMBERS + CATEGORIES}, 3)
    assert (pipeline.predict_proba(ASKED) == before).all()
    assert pipeline[-1].flatten_transform


def test_a_threshold_is_rounded_down_to_single_precision() -> None:
    near = np.float64(np.float32(0.1))
    assert rounded_down(np.array([near, near + 1e-12, near - 1e-12, 1e300])).tolist() == [
        near,
        near,
        np.nextafter(np.float32(0.1), np.float32(0)),
        np.finfo(np.float32).max,
    ]
