"""Losses: PyTorch's numbers, gradients against differences, strictness, dtypes, custom losses."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, optim
from tinygrad_nn.errors import LossError, NotDifferentiableError, ShapeError, StaleGraphError

REDUCTIONS = ["mean", "sum", "none"]

# --- PyTorch's numbers ---------------------------------------------------------------------------

SCORES = [[2.0, -1.0, 0.5], [0.1, 0.2, -0.3], [-1.5, 3.0, 1.0], [0.0, 0.0, 0.0]]
LABELS = [0, 2, 1, 1]
IGNORED = [0, -100, 1, 2]
SOFT = [[0.7, 0.2, 0.1], [0.0, 0.0, 1.0], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]]
WEIGHT = [0.5, 2.0, 1.25]
HUGE = [[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 999.0], [1e30, 0.0, -1e30], [0.0, -800.0, 800.0]]
PREDICTED = [0.3, -1.2, 4.0, 2.5, -3.0]
WANTED = [0.0, 1.0, 4.0, 1.0, 5.0]
PROBABILITIES = [0.2, 0.9, 0.5, 1e-9, 0.999999, 0.0, 1.0, 0.0, 1.0, 1e-50]
OUTCOMES = [0.0, 1.0, 0.3, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
LOGITS = [0.5, -2.0, 30.0, -30.0, 1000.0, -1000.0, 1000.0, -1000.0, 0.0]
OUTCOMES_OF_LOGITS = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.25]

# Loss, options, prediction, target, value, gradient (where the value is an array, of its elements
# times 1, 2, 3, ...), from `python tests/reference/from_pytorch.py losses`.
# fmt: off
PYTORCH: list[tuple[str, dict[str, Any], Any, Any, Any, Any]] = [
    ("mse_loss", {"reduction": "mean"}, PREDICTED, WANTED, 14.236, [0.12, -0.8800000000000001,
     0.0, 0.6000000000000001, -3.2]),
    ("mse_loss", {"reduction": "sum"}, PREDICTED, WANTED, 71.18, [0.6, -4.4, 0.0, 3.0, -16.0]),
    ("mse_loss", {"reduction": "none"}, PREDICTED, WANTED, [0.09, 4.840000000000001, 0.0, 2.25,
     64.0], [0.6, -8.8, 0.0, 12.0, -80.0]),
    ("l1_loss", {"reduction": "mean"}, PREDICTED, WANTED, 2.4, [0.2, -0.2, 0.0, 0.2, -0.2]),
    ("l1_loss", {"reduction": "sum"}, PREDICTED, WANTED, 12.0, [1.0, -1.0, 0.0, 1.0, -1.0]),
    ("l1_loss", {"reduction": "none"}, PREDICTED, WANTED, [0.3, 2.2, 0.0, 1.5, 8.0], [1.0, -2.0,
     0.0, 4.0, -5.0]),
    ("huber_loss", {"reduction": "mean"}, PREDICTED, WANTED, 2.0490000000000004, [0.06, -0.2, 0.0,
     0.2, -0.2]),
    ("huber_loss", {"reduction": "sum"}, PREDICTED, WANTED, 10.245000000000001, [0.3, -1.0, 0.0,
     1.0, -1.0]),
    ("huber_loss", {"reduction": "none"}, PREDICTED, WANTED, [0.045, 1.7000000000000002, 0.0, 1.0,
     7.5], [0.3, -2.0, 0.0, 4.0, -5.0]),
    ("huber_loss", {"delta": 0.5}, PREDICTED, WANTED, 1.1039999999999999, [0.06, -0.1, 0.0, 0.1,
     -0.1]),
    ("huber_loss", {"delta": 1.5}, PREDICTED, WANTED, 2.8440000000000003, [0.06,
     -0.30000000000000004, 0.0, 0.30000000000000004, -0.30000000000000004]),
    ("huber_loss", {"delta": 10.0}, PREDICTED, WANTED, 7.118, [0.06, -0.44000000000000006, 0.0,
     0.30000000000000004, -1.6]),
    ("binary_cross_entropy", {"reduction": "mean"}, PROBABILITIES, OUTCOMES, 30.102165224853245,
     [0.12499999999999997, -0.11111111111111112, 0.08, 0.10000000009999999, -0.1000001000001,
     -100000000399.58029, 100000000399.58029, 0.0, 0.0, -100000000399.58029]),
    ("binary_cross_entropy_with_logits", {"reduction": "mean"}, LOGITS, OUTCOMES_OF_LOGITS,
     229.032683575087, [-0.04194896319979394, 0.013244769113568616, 0.11111111111110072,
     -0.11111111111110071, 0.0, -0.1111111111111111, 0.1111111111111111, 0.0,
     0.027777777777777776]),
    ("binary_cross_entropy", {"reduction": "sum"}, PROBABILITIES, OUTCOMES, 301.02165224853246,
     [1.2499999999999998, -1.1111111111111112, 0.8, 1.0000000009999999, -1.000001000001,
     -1000000003995.8029, 1000000003995.8029, 0.0, 0.0, -1000000003995.8029]),
    ("binary_cross_entropy_with_logits", {"reduction": "sum"}, LOGITS, OUTCOMES_OF_LOGITS,
     2061.294152175783, [-0.3775406687981454, 0.11920292202211755, 0.9999999999999065,
     -0.9999999999999064, 0.0, -1.0, 1.0, 0.0, 0.25]),
    ("binary_cross_entropy", {"reduction": "none"}, PROBABILITIES, OUTCOMES, [0.22314355131420976,
     0.10536051565782628, 0.6931471805599453, 1.0000000005000001e-09, 1.000000500029089e-06,
     100.0, 100.0, 0.0, -0.0, 100.0], [1.2499999999999998, -2.2222222222222223,
     2.4000000000000004, 4.000000003999999, -5.000005000005, -6000000023974.816, 7000000027970.62,
     0.0, 0.0, -10000000039958.027]),
    ("binary_cross_entropy_with_logits", {"reduction": "none"}, LOGITS, OUTCOMES_OF_LOGITS,
     [0.4740769841801067, 0.1269280110429727, 30.000000000000092, 30.000000000000092, 0.0, 1000.0,
     1000.0, 0.0, 0.6931471805599453], [-0.3775406687981454, 0.2384058440442351,
     2.9999999999997193, -3.9999999999996256, 0.0, -6.0, 7.0, 0.0, 2.25]),
    ("cross_entropy", {"reduction": "mean"}, SCORES, LABELS, 0.7243541156824296,
     [[-0.05360074135268103, 0.009778143317671862, 0.04382259803500917], [0.09007415381013502,
     0.09954733526123401, -0.18962148907136903], [0.0024224894166736018, -0.03193445210516785,
     0.029511962688494233], [0.08333333333333333, -0.16666666666666669, 0.08333333333333333]]),
    ("cross_entropy", {"reduction": "mean"}, SCORES, IGNORED, 0.4921962690588197,
     [[-0.07146765513690803, 0.013037524423562482, 0.05843013071334556], [0.0, 0.0, 0.0],
     [0.0032299858888981355, -0.04257926947355713, 0.03934928358465897], [0.1111111111111111,
     0.1111111111111111, -0.2222222222222222]]),
    ("cross_entropy", {"reduction": "mean"}, SCORES, SOFT, 1.4493541156824297,
     [[0.02139925864731896, -0.04022185668232814, 0.01882259803500917], [0.09007415381013502,
     0.09954733526123401, -0.18962148907136903], [-0.0725775105833264, 0.14306554789483217,
     -0.07048803731150577], [-0.16666666666666669, 0.08333333333333333, 0.08333333333333333]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "mean"}, SCORES, LABELS, 0.759520911097175,
     [[-0.018643736122671662, 0.003401093327885865, 0.015242642794785799], [0.07832535113924784,
     0.08656290022716, -0.16488825136640786], [0.003370420057980663, -0.04443054205936396,
     0.04106012200138328], [0.11594202898550723, -0.2318840579710145, 0.11594202898550723]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "mean"}, SCORES, IGNORED,
     0.47126705409762676, [[-0.028587062054763215, 0.005215009769424993, 0.023372052285338226],
     [0.0, 0.0, 0.0], [0.005167977422237017, -0.06812683115769141, 0.06295885373545436],
     [0.1111111111111111, 0.1111111111111111, -0.2222222222222222]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "mean"}, SCORES, SOFT, 1.4424549064161578,
     [[0.0843493513164041, -0.09144412459703713, 0.007094773280633027], [0.11259269226266877,
     0.1244341690765425, -0.2370268613392113], [-0.034471888229158, 0.12258193486854019,
     -0.08811004663938221], [-0.08333333333333334, 0.041666666666666664, 0.041666666666666664]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "mean"}, SCORES, LABELS,
     0.8085207823490963, [[-0.03693407468601437, 0.0014448099843385291, 0.03548926470167584],
     [0.08174082047680169, 0.09121400192790068, -0.17295482240470236], [-0.0059108439166597315,
     -0.015267785438501186, 0.021178629355160898], [0.075, -0.15000000000000002, 0.075]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "mean"}, SCORES, IGNORED,
     0.614418491281042, [[-0.04924543291468579, 0.001926413312451373, 0.04731901960223446], [0.0,
     0.0, 0.0], [-0.007881125222212975, -0.020357047251334883, 0.02823817247354787],
     [0.09999999999999999, 0.09999999999999999, -0.2]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "mean"}, SCORES, SOFT,
     1.4610207823490964, [[0.030565925313985637, -0.04355519001566147, 0.012989264701675836],
     [0.08174082047680169, 0.09121400192790068, -0.17295482240470236], [-0.07341084391665974,
     0.14223221456149882, -0.0688213706448391], [-0.15000000000000002, 0.075, 0.075]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "mean"}, SCORES, LABELS,
     1.5660207823490961, [[0.11306592531398564, -0.07355519001566146, -0.039510735298324155],
     [0.00674082047680169, 0.01621400192790068, -0.02295482240470236], [-0.08091084391665973,
     0.1347322145614988, -0.05382137064483909], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "mean"}, SCORES, IGNORED,
     1.7144184912810418, [[0.15075456708531418, -0.09807358668754862, -0.052680980397765545],
     [0.0, 0.0, 0.0], [-0.10788112522221296, 0.17964295274866507, -0.07176182752645213],
     [-6.1679056923619804e-18, -6.1679056923619804e-18, -6.1679056923619804e-18]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "mean"}, SCORES, SOFT,
     1.5660207823490961, [[0.11306592531398564, -0.07355519001566146, -0.039510735298324155],
     [0.00674082047680169, 0.01621400192790068, -0.02295482240470236], [-0.08091084391665973,
     0.1347322145614988, -0.05382137064483909], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "mean"}, SCORES,
     LABELS, 0.8660551258080177, [[0.013444302460816689, -0.018766984470849825,
     0.005322682010033134], [0.07252824968997247, 0.06337449443005855, -0.13590274412003106],
     [-0.0026794628956432484, -0.02080839633244789, 0.023487859228091133], [0.10144927536231885,
     -0.19420289855072465, 0.0927536231884058]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "mean"}, SCORES,
     IGNORED, 0.6998973415343098, [[0.020614597106585593, -0.028776042855303063,
     0.008161445748717472], [0.0, 0.0, 0.0], [-0.004108509773319648, -0.03190620770975347,
     0.03601471748307306], [0.10222222222222221, 0.07555555555555554, -0.17777777777777776]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "mean"}, SCORES,
     SOFT, 1.5254691207202005, [[0.10824596238161968, -0.10404409718154507,
     -0.004201865200074624], [0.10425935892933547, 0.0911008357432092, -0.19536019467254465],
     [-0.03530522156249133, 0.11924860153520686, -0.08394337997271556], [-0.05416666666666667,
     0.020833333333333332, 0.03333333333333333]]),
    ("cross_entropy", {"ignore_index": 1, "reduction": "mean"}, SCORES, LABELS,
     0.8310694761052082, [[-0.10720148270536206, 0.019556286635343725, 0.08764519607001835],
     [0.18014830762027004, 0.19909467052246801, -0.37924297814273805], [0.0, 0.0, 0.0], [0.0, 0.0,
     0.0]]),
    ("cross_entropy", {"reduction": "mean"}, HUGE, LABELS, 2.5e+29, [[0.0, 0.0, 0.0], [0.0,
     0.18276464465750122, -0.18276464465750122], [0.25, -0.25, 0.0], [0.0, -0.25, 0.25]]),
    ("nll_loss", {"reduction": "mean"}, SCORES, LABELS, -1.175, [[-0.25, 0.0, 0.0], [0.0, 0.0,
     -0.25], [0.0, -0.25, 0.0], [0.0, -0.25, 0.0]]),
    ("nll_loss", {"weight": WEIGHT, "reduction": "mean"}, SCORES, LABELS, -1.1521739130434783,
     [[-0.08695652173913043, 0.0, 0.0], [0.0, 0.0, -0.21739130434782608], [0.0,
     -0.34782608695652173, 0.0], [0.0, -0.34782608695652173, 0.0]]),
    ("nll_loss", {"reduction": "mean"}, SCORES, IGNORED, -1.6666666666666667,
     [[-0.3333333333333333, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -0.3333333333333333, 0.0], [0.0,
     0.0, -0.3333333333333333]]),
    ("nll_loss", {"weight": WEIGHT, "reduction": "mean"}, SCORES, IGNORED, -1.8666666666666667,
     [[-0.13333333333333333, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -0.5333333333333333, 0.0], [0.0,
     0.0, -0.3333333333333333]]),
    ("cross_entropy", {"reduction": "sum"}, SCORES, LABELS, 2.8974164627297183,
     [[-0.21440296541072412, 0.03911257327068745, 0.1752903921400367], [0.3602966152405401,
     0.39818934104493603, -0.7584859562854761], [0.009689957666694407, -0.1277378084206714,
     0.11804785075397693], [0.3333333333333333, -0.6666666666666667, 0.3333333333333333]]),
    ("cross_entropy", {"reduction": "sum"}, SCORES, IGNORED, 1.476588807176459,
     [[-0.21440296541072412, 0.03911257327068745, 0.1752903921400367], [0.0, 0.0, 0.0],
     [0.009689957666694407, -0.1277378084206714, 0.11804785075397693], [0.3333333333333333,
     0.3333333333333333, -0.6666666666666667]]),
    ("cross_entropy", {"reduction": "sum"}, SCORES, SOFT, 5.797416462729719,
     [[0.08559703458927584, -0.16088742672931255, 0.07529039214003667], [0.3602966152405401,
     0.39818934104493603, -0.7584859562854761], [-0.2903100423333056, 0.5722621915793287,
     -0.2819521492460231], [-0.6666666666666667, 0.3333333333333333, 0.3333333333333333]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "sum"}, SCORES, LABELS, 4.367245238808756,
     [[-0.10720148270536206, 0.019556286635343725, 0.08764519607001835], [0.4503707690506751,
     0.49773667630617, -0.9481074453568452], [0.019379915333388814, -0.2554756168413428,
     0.23609570150795386], [0.6666666666666666, -1.3333333333333335, 0.6666666666666666]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "sum"}, SCORES, IGNORED, 1.7672514528661003,
     [[-0.10720148270536206, 0.019556286635343725, 0.08764519607001835], [0.0, 0.0, 0.0],
     [0.019379915333388814, -0.2554756168413428, 0.23609570150795386], [0.41666666666666663,
     0.41666666666666663, -0.8333333333333334]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "sum"}, SCORES, SOFT, 5.769819625664631,
     [[0.3373974052656164, -0.3657764983881485, 0.028379093122532107], [0.4503707690506751,
     0.49773667630617, -0.9481074453568452], [-0.137887552916632, 0.49032773947416075,
     -0.35244018655752885], [-0.33333333333333337, 0.16666666666666666, 0.16666666666666666]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "sum"}, SCORES, LABELS,
     3.234083129396385, [[-0.14773629874405747, 0.0057792399373541165, 0.14195705880670337],
     [0.32696328190720675, 0.3648560077116027, -0.6918192896188095], [-0.023643375666638926,
     -0.06107114175400474, 0.08471451742064359], [0.3, -0.6000000000000001, 0.3]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "sum"}, SCORES, IGNORED,
     1.8432554738431257, [[-0.14773629874405747, 0.0057792399373541165, 0.14195705880670337],
     [0.0, 0.0, 0.0], [-0.023643375666638926, -0.06107114175400474, 0.08471451742064359], [0.3,
     0.3, -0.6000000000000001]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "sum"}, SCORES, SOFT,
     5.8440831293963855, [[0.12226370125594255, -0.1742207600626459, 0.05195705880670334],
     [0.32696328190720675, 0.3648560077116027, -0.6918192896188095], [-0.29364337566663895,
     0.5689288582459953, -0.2752854825793564], [-0.6000000000000001, 0.3, 0.3]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "sum"}, SCORES, LABELS,
     6.264083129396385, [[0.45226370125594256, -0.29422076006264586, -0.15804294119329662],
     [0.02696328190720676, 0.06485600771160271, -0.09181928961880945], [-0.3236433756666389,
     0.5389288582459952, -0.21528548257935637], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "sum"}, SCORES, IGNORED,
     5.1432554738431255, [[0.45226370125594256, -0.29422076006264586, -0.15804294119329662], [0.0,
     0.0, 0.0], [-0.3236433756666389, 0.5389288582459952, -0.21528548257935637], [0.0, 0.0,
     0.0]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "sum"}, SCORES, SOFT,
     6.264083129396385, [[0.45226370125594256, -0.29422076006264586, -0.15804294119329662],
     [0.02696328190720676, 0.06485600771160271, -0.09181928961880945], [-0.3236433756666389,
     0.5389288582459952, -0.21528548257935637], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "sum"}, SCORES,
     LABELS, 4.979816973396102, [[0.07730473914969599, -0.10791016070738649,
     0.030605421557690526], [0.41703743571734175, 0.3644033429728367, -0.7814407786901785],
     [-0.015406911649948679, -0.1196482789115754, 0.135055190561524], [0.5833333333333334,
     -1.1166666666666667, 0.5333333333333333]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "sum"}, SCORES,
     IGNORED, 2.6246150307536618, [[0.07730473914969599, -0.10791016070738649,
     0.030605421557690526], [0.0, 0.0, 0.0], [-0.015406911649948679, -0.1196482789115754,
     0.135055190561524], [0.3833333333333333, 0.2833333333333333, -0.6666666666666666]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "sum"}, SCORES,
     SOFT, 6.101876482880802, [[0.4329838495264787, -0.4161763887261803, -0.016807460800298497],
     [0.41703743571734186, 0.3644033429728368, -0.7814407786901786], [-0.14122088624996532,
     0.47699440614082744, -0.33577351989086224], [-0.21666666666666667, 0.08333333333333333,
     0.13333333333333333]]),
    ("cross_entropy", {"ignore_index": 1, "reduction": "sum"}, SCORES, LABELS, 1.6621389522104164,
     [[-0.21440296541072412, 0.03911257327068745, 0.1752903921400367], [0.3602966152405401,
     0.39818934104493603, -0.7584859562854761], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"reduction": "sum"}, HUGE, LABELS, 1e+30, [[0.0, 0.0, 0.0], [0.0,
     0.7310585786300049, -0.7310585786300049], [1.0, -1.0, 0.0], [0.0, -1.0, 1.0]]),
    ("nll_loss", {"reduction": "sum"}, SCORES, LABELS, -4.7, [[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0],
     [0.0, -1.0, 0.0], [0.0, -1.0, 0.0]]),
    ("nll_loss", {"weight": WEIGHT, "reduction": "sum"}, SCORES, LABELS, -6.625, [[-0.5, 0.0,
     0.0], [0.0, 0.0, -1.25], [0.0, -2.0, 0.0], [0.0, -2.0, 0.0]]),
    ("nll_loss", {"reduction": "sum"}, SCORES, IGNORED, -5.0, [[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0],
     [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]),
    ("nll_loss", {"weight": WEIGHT, "reduction": "sum"}, SCORES, IGNORED, -7.0, [[-0.5, 0.0, 0.0],
     [0.0, 0.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, -1.25]]),
    ("cross_entropy", {"reduction": "none"}, SCORES, LABELS, [0.24131129665715703,
     1.4208276555532593, 0.1366652218511922, 1.0986122886681098], [[-0.21440296541072412,
     0.03911257327068745, 0.1752903921400367], [0.7205932304810801, 0.7963786820898721,
     -1.5169719125709522], [0.02906987300008322, -0.3832134252620142, 0.3541435522619308],
     [1.3333333333333333, -2.666666666666667, 1.3333333333333333]]),
    ("cross_entropy", {"reduction": "none"}, SCORES, IGNORED, [0.24131129665715703, 0.0,
     0.1366652218511922, 1.0986122886681098], [[-0.21440296541072412, 0.03911257327068745,
     0.1752903921400367], [0.0, 0.0, 0.0], [0.02906987300008322, -0.3832134252620142,
     0.3541435522619308], [1.3333333333333333, 1.3333333333333333, -2.666666666666667]]),
    ("cross_entropy", {"reduction": "none"}, SCORES, SOFT, [0.9913112966571571,
     1.4208276555532593, 2.2866652218511923, 1.0986122886681098], [[0.08559703458927584,
     -0.16088742672931255, 0.07529039214003667], [0.7205932304810801, 0.7963786820898721,
     -1.5169719125709522], [-0.8709301269999167, 1.716786574737986, -0.8458564477380693],
     [-2.666666666666667, 1.3333333333333333, 1.3333333333333333]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "none"}, SCORES, LABELS,
     [0.12065564832857852, 1.776034569441574, 0.2733304437023844, 2.1972245773362196],
     [[-0.10720148270536206, 0.019556286635343725, 0.08764519607001835], [0.9007415381013502,
     0.99547335261234, -1.8962148907136904], [0.05813974600016644, -0.7664268505240284,
     0.7082871045238616], [2.6666666666666665, -5.333333333333334, 2.6666666666666665]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "none"}, SCORES, IGNORED,
     [0.12065564832857852, 0.0, 0.2733304437023844, 1.3732653608351373], [[-0.10720148270536206,
     0.019556286635343725, 0.08764519607001835], [0.0, 0.0, 0.0], [0.05813974600016644,
     -0.7664268505240284, 0.7082871045238616], [1.6666666666666665, 1.6666666666666665,
     -3.3333333333333335]]),
    ("cross_entropy", {"weight": WEIGHT, "reduction": "none"}, SCORES, SOFT, [1.5986473845750124,
     1.776034569441574, 1.8458315273139903, 0.5493061443340549], [[0.3373974052656164,
     -0.3657764983881485, 0.028379093122532107], [0.9007415381013502, 0.99547335261234,
     -1.8962148907136904], [-0.41366265874989594, 1.4709832184224825, -1.0573205596725865],
     [-1.3333333333333335, 0.6666666666666666, 0.6666666666666666]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "none"}, SCORES, LABELS,
     [0.391311296657157, 1.3908276555532595, 0.3533318885178589, 1.0986122886681098],
     [[-0.14773629874405747, 0.0057792399373541165, 0.14195705880670337], [0.6539265638144135,
     0.7297120154232054, -1.383638579237619], [-0.07093012699991678, -0.18321342526201406,
     0.25414355226193086], [1.2, -2.4000000000000004, 1.2]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "none"}, SCORES, IGNORED,
     [0.391311296657157, 0.0, 0.3533318885178589, 1.0986122886681098], [[-0.14773629874405747,
     0.0057792399373541165, 0.14195705880670337], [0.0, 0.0, 0.0], [-0.07093012699991678,
     -0.18321342526201406, 0.25414355226193086], [1.2, 1.2, -2.4000000000000004]]),
    ("cross_entropy", {"label_smoothing": 0.1, "reduction": "none"}, SCORES, SOFT,
     [1.0663112966571573, 1.3908276555532593, 2.288331888517859, 1.09861228866811],
     [[0.12226370125594255, -0.1742207600626459, 0.05195705880670334], [0.6539265638144135,
     0.7297120154232054, -1.383638579237619], [-0.8809301269999168, 1.7067865747379858,
     -0.8258564477380693], [-2.4000000000000004, 1.2, 1.2]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "none"}, SCORES, LABELS,
     [1.7413112966571571, 1.1208276555532592, 2.303331888517859, 1.0986122886681096],
     [[0.45226370125594256, -0.29422076006264586, -0.15804294119329662], [0.05392656381441352,
     0.12971201542320543, -0.1836385792376189], [-0.9709301269999168, 1.616786574737986,
     -0.6458564477380692], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "none"}, SCORES, IGNORED,
     [1.7413112966571571, 0.0, 2.303331888517859, 1.0986122886681096], [[0.45226370125594256,
     -0.29422076006264586, -0.15804294119329662], [0.0, 0.0, 0.0], [-0.9709301269999168,
     1.616786574737986, -0.6458564477380692], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"label_smoothing": 1.0, "reduction": "none"}, SCORES, SOFT,
     [1.7413112966571571, 1.1208276555532592, 2.303331888517859, 1.0986122886681096],
     [[0.45226370125594256, -0.29422076006264586, -0.15804294119329662], [0.05392656381441352,
     0.12971201542320543, -0.1836385792376189], [-0.9709301269999168, 1.616786574737986,
     -0.6458564477380692], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "none"}, SCORES,
     LABELS, [0.681852342827152, 1.6960345694415742, 0.5694973270913722, 2.032432734036003],
     [[0.07730473914969599, -0.10791016070738649, 0.030605421557690526], [0.8340748714346835,
     0.7288066859456734, -1.562881557380357], [-0.04622073494984604, -0.3589448367347267,
     0.40516557168457207], [2.3333333333333335, -4.466666666666667, 2.1333333333333333]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "none"}, SCORES,
     IGNORED, [0.681852342827152, 0.0, 0.5694973270913722, 1.3732653608351373],
     [[0.07730473914969599, -0.10791016070738649, 0.030605421557690526], [0.0, 0.0, 0.0],
     [-0.04622073494984604, -0.3589448367347267, 0.40516557168457207], [1.5333333333333332,
     1.1333333333333333, -2.6666666666666665]]),
    ("cross_entropy", {"weight": WEIGHT, "label_smoothing": 0.2, "reduction": "none"}, SCORES,
     SOFT, [1.8642457318242995, 1.6960345694415742, 1.8274981939806572, 0.7140979876342715],
     [[0.4329838495264787, -0.4161763887261803, -0.016807460800298497], [0.8340748714346837,
     0.7288066859456735, -1.5628815573803572], [-0.42366265874989595, 1.4309832184224824,
     -1.0073205596725867], [-0.8666666666666667, 0.3333333333333333, 0.5333333333333333]]),
    ("cross_entropy", {"ignore_index": 1, "reduction": "none"}, SCORES, LABELS,
     [0.24131129665715703, 1.4208276555532593, 0.0, 0.0], [[-0.21440296541072412,
     0.03911257327068745, 0.1752903921400367], [0.7205932304810801, 0.7963786820898721,
     -1.5169719125709522], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    ("cross_entropy", {"reduction": "none"}, HUGE, LABELS, [-0.0, 1.3132616875182228, 1e+30,
     1600.0], [[0.0, 0.0, 0.0], [0.0, 1.4621171572600098, -1.4621171572600098], [3.0, -3.0, 0.0],
     [0.0, -4.0, 4.0]]),
    ("nll_loss", {"reduction": "none"}, SCORES, LABELS, [-2.0, 0.3, -3.0, -0.0], [[-1.0, 0.0,
     0.0], [0.0, 0.0, -2.0], [0.0, -3.0, 0.0], [0.0, -4.0, 0.0]]),
    ("nll_loss", {"weight": WEIGHT, "reduction": "none"}, SCORES, LABELS, [-1.0, 0.375, -6.0,
     -0.0], [[-0.5, 0.0, 0.0], [0.0, 0.0, -2.5], [0.0, -6.0, 0.0], [0.0, -8.0, 0.0]]),
    ("nll_loss", {"reduction": "none"}, SCORES, IGNORED, [-2.0, 0.0, -3.0, -0.0], [[-1.0, 0.0,
     0.0], [0.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, -4.0]]),
    ("nll_loss", {"weight": WEIGHT, "reduction": "none"}, SCORES, IGNORED, [-1.0, 0.0, -6.0,
     -0.0], [[-0.5, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -6.0, 0.0], [0.0, 0.0, -5.0]]),
]
# fmt: on


@pytest.mark.parametrize(
    ("name", "options", "prediction", "target", "value", "gradient"),
    PYTORCH,
    ids=[f"{i}-{row[0]}-{'-'.join(row[1])}" for i, row in enumerate(PYTORCH)],
)
def test_values_and_gradients_are_those_of_pytorch(
    name: str, options: dict[str, Any], prediction: Any, target: Any, value: Any, gradient: Any
) -> None:
    x = tg.tensor(prediction, requires_grad=True)
    y = getattr(losses, name)(x, np.array(target), **options)
    y.backward(np.arange(1.0, y.size + 1).reshape(y.shape))
    # PyTorch keeps binary_cross_entropy's 1e-12 as a float32, which is off by 4e-9.
    rtol = 1e-8 if name == "binary_cross_entropy" else 1e-13
    assert y.shape == np.shape(value)
    np.testing.assert_allclose(y.data, value, rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(x.grad, gradient, rtol=rtol, atol=1e-15)


# --- gradients against central differences -------------------------------------------------------


def central_differences(f: Callable[[Any], float], x: Any, h: float = 1e-5) -> Any:
    """Differentiate `f` in each element of `x`, with an error of order h^4."""
    g = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        total = 0.0
        for step, factor in [(-2, 1), (-1, -8), (1, 8), (2, -1)]:
            moved = x.copy()
            moved[i] += step * h
            total += factor * f(moved)
        g[i] = total / (12 * h)
    return g


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


UNIT = generator(1).uniform(0.1, 0.9, (3, 4))
REAL = generator(2).standard_normal((3, 4))
OTHER = generator(3).standard_normal((3, 4))
SIGNS = np.where(generator(4).random((3, 4)) < 0.5, -1, 1)
CLASSES = np.array([3, 0, 1])
SOME = np.array([3, -100, 1])
SHARES = np.exp(OTHER) / np.exp(OTHER).sum(axis=-1, keepdims=True)
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.25])
DEEP = generator(5).standard_normal((2, 3, 4))
DEEP_CLASSES = np.array([[3, 0, 1], [1, -100, 2]])

DIFFERENTIATED: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("mse_loss", REAL, OTHER, {}),
    ("l1_loss", REAL, OTHER, {}),
    ("huber_loss", REAL, OTHER, {}),
    ("huber_loss", REAL, OTHER, {"delta": 0.3}),
    ("hinge_loss", REAL, SIGNS, {}),
    ("nll_loss", REAL, CLASSES, {}),
    ("nll_loss", REAL, SOME, {"weight": WEIGHTS}),
    ("nll_loss", DEEP, DEEP_CLASSES, {"weight": WEIGHTS}),
    ("cross_entropy", REAL, CLASSES, {}),
    ("cross_entropy", REAL, SOME, {"weight": WEIGHTS}),
    ("cross_entropy", REAL, SOME, {"weight": WEIGHTS, "label_smoothing": 0.2}),
    ("cross_entropy", REAL, SHARES, {}),
    ("cross_entropy", REAL, SHARES, {"weight": WEIGHTS, "label_smoothing": 0.2}),
    ("cross_entropy", DEEP, DEEP_CLASSES, {"weight": WEIGHTS, "label_smoothing": 0.2}),
    ("cross_entropy", REAL[0], np.array(2), {}),
    ("binary_cross_entropy", UNIT, 1 - UNIT, {}),
    ("binary_cross_entropy_with_logits", REAL, UNIT, {}),
    ("mse_loss", np.array(0.5), np.array(2.0), {}),
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("name", "prediction", "target", "options"),
    DIFFERENTIATED,
    ids=[f"{i}-{row[0]}" for i, row in enumerate(DIFFERENTIATED)],
)
def test_gradients_agree_with_central_differences(
    name: str, prediction: Any, target: Any, options: dict[str, Any], reduction: str
) -> None:
    loss = getattr(losses, name)
    x = tg.tensor(prediction, requires_grad=True)
    y = loss(x, target, **options, reduction=reduction)
    seed = generator(9).standard_normal(y.shape)
    y.backward(seed)

    def f(p: Any) -> float:
        return float((loss(p, target, **options, reduction=reduction) * seed).sum())

    np.testing.assert_allclose(x.grad, central_differences(f, prediction), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "prediction", "target", "options"),
    [row for row in DIFFERENTIATED if row[2].dtype.kind == "f"],
    ids=[row[0] for row in DIFFERENTIATED if row[2].dtype.kind == "f"],
)
def test_soft_targets_have_gradients_too(
    name: str, prediction: Any, target: Any, options: dict[str, Any]
) -> None:
    loss = getattr(losses, name)
    t = tg.tensor(target, requires_grad=True)
    loss(prediction, t, **options).backward()

    def f(target: Any) -> float:
        return float(loss(prediction, target, **options))

    np.testing.assert_allclose(t.grad, central_differences(f, target), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", losses.__all__)
def test_every_loss_is_differentiated_above(name: str) -> None:
    assert name in {row[0] for row in DIFFERENTIATED}


@pytest.mark.parametrize(
    ("name", "prediction", "target", "options"),
    DIFFERENTIATED,
    ids=[f"{i}-{row[0]}" for i, row in enumerate(DIFFERENTIATED)],
)
def test_reductions_are_of_the_unreduced_loss(
    name: str, prediction: Any, target: Any, options: dict[str, Any]
) -> None:
    loss = getattr(losses, name)
    each = loss(tg.tensor(prediction), target, **options, reduction="none").data
    total = loss(tg.tensor(prediction), target, **options, reduction="sum").data
    mean = loss(tg.tensor(prediction), target, **options, reduction="mean").data
    labels = target.dtype.kind == "i" and name != "hinge_loss"
    assert each.shape == (target.shape if labels else np.shape(prediction)[: each.ndim])
    assert total.shape == mean.shape == ()
    np.testing.assert_allclose(total, each.sum(), rtol=1e-14)
    count = each.size
    if labels:
        kept = target != -100
        weights = options.get("weight", np.ones(4))
        count = weights[target[kept]].sum()
    np.testing.assert_allclose(mean, each.sum() / count, rtol=1e-14)


# --- strict about shapes and labels --------------------------------------------------------------

ELEMENTWISE = ["mse_loss", "l1_loss", "huber_loss", "hinge_loss", "binary_cross_entropy",
               "binary_cross_entropy_with_logits"]  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3, 1)), ((3, 1), (3,)), ((3,), ()), ((), (3,)), ((2, 3), (3,)), ((3,), (4,)),
     ((1,), ()), ((2, 3), (3, 2))],
)  # fmt: skip
def test_shapes_must_be_equal(name: str, a: Any, b: Any) -> None:
    with pytest.raises(ShapeError, match=name) as caught:
        getattr(losses, name)(tg.tensor(np.ones(a)), np.ones(b))
    assert str(a) in str(caught.value)
    assert str(b) in str(caught.value)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_shape_errors_are_value_errors_too(name: str) -> None:
    with pytest.raises(ValueError, match="reshape"):
        getattr(losses, name)(tg.tensor([1.0, 1.0]), [[1.0], [1.0]])


SMOOTHINGS = [{}, {"label_smoothing": 0.1}]


@pytest.mark.parametrize("options", SMOOTHINGS)
@pytest.mark.parametrize(
    ("scores", "labels", "error", "words"),
    [
        ((2, 3), [0, -1], IndexError, r"label -1 .* 3 classes 0 to 2"),
        ((2, 3), [0, 3], IndexError, r"label 3 .* 3 classes 0 to 2"),
        ((2, 3), [-101, -100], IndexError, r"label -101 "),
        ((2, 3), [0.0, 1.0], LossError, r"integers, got dtype float64; use .*astype\(int\)"),
        ((2, 3), [True, False], LossError, "integers, got dtype bool"),
        ((2, 3), ["a", "b"], LossError, "integers, got dtype <U1"),
        ((2, 3), [[0], [1]], ShapeError, r"\(2, 3\) .*labels of shape \(2,\), got \(2, 1\)"),
        ((2, 3), [0], ShapeError, r"labels of shape \(2,\), got \(1,\)"),
        ((2, 3), 0, ShapeError, r"labels of shape \(2,\), got \(\)"),
        ((2, 3), [[1, 0, 0], [0, 1, 0]], ShapeError, r"labels of shape \(2,\), got \(2, 3\)"),
        ((), 0, ShapeError, "axis of classes"),
    ],
)
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_labels_are_checked(
    name: str, scores: Any, labels: Any, error: Any, words: str, options: Any
) -> None:
    if name == "nll_loss" and options:
        options = {"weight": [1.0, 2.0, 3.0]}
    with pytest.raises(error, match=words) as caught:
        getattr(losses, name)(tg.tensor(np.zeros(scores)), np.array(labels), **options)
    assert name in str(caught.value)


def test_soft_targets_of_another_shape_are_refused() -> None:
    with pytest.raises((LossError, ShapeError), match=r"\(2, 3\)"):
        losses.cross_entropy(tg.tensor(np.zeros((2, 3))), np.full((2, 2), 0.5))


@pytest.mark.parametrize("weight", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], 2.0, [[1.0, 2.0, 3.0]]])
@pytest.mark.parametrize("options", SMOOTHINGS)
@pytest.mark.parametrize("target", [[0, 1], [[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]])
def test_weight_must_have_one_element_to_a_class(weight: Any, options: Any, target: Any) -> None:
    logits = tg.tensor(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"cross_entropy: weight must .*shape \(3,\)"):
        losses.cross_entropy(logits, np.array(target), weight=weight, **options)
    if not options and isinstance(target[0], int):
        with pytest.raises(ShapeError, match=r"nll_loss: weight must .*shape \(3,\)"):
            losses.nll_loss(logits, np.array(target), weight=weight)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan])
def test_label_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing must be from 0 to 1"):
        losses.cross_entropy(tg.tensor([[0.0, 1.0]]), np.array([0]), label_smoothing=smoothing)


@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan])
def test_huber_delta_is_positive(delta: float) -> None:
    with pytest.raises(ValueError, match="delta must be positive"):
        losses.huber_loss(tg.tensor([1.0]), [0.0], delta=delta)


@pytest.mark.parametrize("labels", [[0, 1], [1, 2], [0.5, 1.0], [math.nan, 1.0], [True, False]])
def test_hinge_labels_are_plus_and_minus_one(labels: Any) -> None:
    with pytest.raises(LossError, match="-1 or 1"):
        losses.hinge_loss(tg.tensor([0.5, 1.0]), np.array(labels))


@pytest.mark.parametrize("probability", [-1e-9, 1.0 + 1e-9, 1.5, math.inf])
def test_probabilities_are_checked(probability: float) -> None:
    with pytest.raises(LossError, match=r"from 0 to 1.*binary_cross_entropy_with_logits"):
        losses.binary_cross_entropy(tg.tensor([0.5, probability]), [0.0, 1.0])


@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("target", [-1.0, 1.5, 2.0, math.inf])
def test_binary_targets_are_checked(name: str, target: float) -> None:
    with pytest.raises(LossError, match="from 0 to 1"):
        getattr(losses, name)(tg.tensor([0.5, 0.5]), [1.0, target])


@pytest.mark.parametrize("name", losses.__all__)
def test_an_unknown_reduction_is_refused(name: str) -> None:
    row = next(row for row in DIFFERENTIATED if row[0] == name)
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'avg'"):
        getattr(losses, name)(tg.tensor(row[1]), row[2], reduction="avg")


@pytest.mark.parametrize("name", losses.__all__)
def test_signatures(name: str) -> None:
    parameters = list(inspect.signature(getattr(losses, name)).parameters.values())
    assert {p.name: p.default for p in parameters}["reduction"] == "mean"


# --- ignored labels, empty batches ---------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"weight": [1.0, 2.0]}, {"label_smoothing": 0.1},
                {"weight": [1.0, 2.0], "label_smoothing": 0.1}]
)  # fmt: skip
def test_the_mean_of_ignored_labels_alone_is_nan_with_a_warning(options: Any) -> None:
    logits = tg.tensor(np.zeros((2, 2)), requires_grad=True)
    ignored = np.array([-100, -100])
    with pytest.warns(RuntimeWarning):
        assert math.isnan(losses.cross_entropy(logits, ignored, **options).item())
    total = losses.cross_entropy(logits, ignored, **options, reduction="sum")
    total.backward()
    assert total.item() == 0
    assert np.array_equal(logits.grad, np.zeros((2, 2)))


@pytest.mark.parametrize("name", losses.__all__)
def test_an_empty_batch(name: str) -> None:
    labels = name in ("nll_loss", "cross_entropy")
    x = tg.tensor(np.zeros((0, 3)), requires_grad=True)
    target = np.zeros(0, int) if labels else np.zeros((0, 3))
    loss = getattr(losses, name)
    with pytest.warns(RuntimeWarning):
        assert math.isnan(loss(x, target).item())
    loss(x, target, reduction="sum").backward()
    assert x.grad.shape == (0, 3)
    assert loss(x, target, reduction="none").shape == ((0,) if labels else (0, 3))


def test_ignore_index_may_be_any_number() -> None:
    logits = tg.tensor(SCORES)
    for ignore in (-1, 1, 255, 7):
        target = np.array([0, ignore, 2, ignore])
        kept = losses.cross_entropy(tg.tensor([SCORES[0], SCORES[2]]), np.array([0, 2]))
        got = losses.cross_entropy(logits, target, ignore_index=ignore)
        assert math.isclose(got.item(), kept.item(), rel_tol=1e-15)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_labels_of_any_integer_dtype(dtype: str) -> None:
    expected = losses.cross_entropy(tg.tensor(SCORES), np.array(LABELS)).item()
    labels = np.array(LABELS, dtype)
    assert losses.cross_entropy(tg.tensor(SCORES), labels).item() == expected
    assert losses.cross_entropy(tg.tensor(SCORES), tg.tensor(labels)).item() == expected
    assert losses.cross_entropy(tg.tensor(SCORES), LABELS).item() == expected
    ignored = np.array([200 if dtype == "uint8" else 100, 2, 1, 1], dtype)
    loss = losses.cross_entropy(tg.tensor(SCORES), ignored, ignore_index=int(ignored[0]))
    expected = losses.cross_entropy(tg.tensor(SCORES[1:]), np.array(LABELS[1:])).item()
    assert math.isclose(loss.item(), expected, rel_tol=1e-15)


def test_a_class_of_weight_zero_contributes_nothing_even_at_minus_infinity() -> None:
    scores = tg.tensor([[0.0, -math.inf], [0.0, 0.0]], requires_grad=True)
    for loss in (losses.cross_entropy, losses.nll_loss):
        y = loss(scores, np.array([1, 0]), weight=[1.0, 0.0], reduction="sum")
        y.backward()
        assert math.isfinite(y.item())
        assert np.isfinite(scores.grad).all()


def test_the_target_is_not_written_to() -> None:
    labels = np.array([0, -100, 1, 2])
    weight = np.array(WEIGHT)
    soft = np.array(SOFT)
    losses.cross_entropy(tg.tensor(SCORES), labels, weight=weight, label_smoothing=0.1)
    losses.cross_entropy(tg.tensor(SCORES), soft, weight=weight, label_smoothing=0.1)
    assert labels.tolist() == [0, -100, 1, 2]
    assert weight.tolist() == WEIGHT
    assert soft.tolist() == SOFT


# --- equivalent ways to write a loss -------------------------------------------------------------


def test_cross_entropy_is_nll_of_log_softmax() -> None:
    for options in ({}, {"weight": WEIGHT}):
        a = losses.cross_entropy(tg.tensor(SCORES), np.array(IGNORED), **options)
        b = losses.nll_loss(tg.log_softmax(tg.tensor(SCORES)), np.array(IGNORED), **options)
        assert a.item() == b.item()


def test_one_hot_soft_targets_are_labels() -> None:
    one_hot = np.eye(3)[LABELS]
    for smoothing in (0.0, 0.3):
        a = losses.cross_entropy(tg.tensor(SCORES), np.array(LABELS), label_smoothing=smoothing)
        b = losses.cross_entropy(tg.tensor(SCORES), one_hot, label_smoothing=smoothing)
        assert math.isclose(a.item(), b.item(), rel_tol=1e-14)


def test_two_classes_are_binary() -> None:
    x = np.array(LOGITS)
    t = np.array([1, 0, 0, 1, 1, 1, 0, 0, 1])
    a = losses.cross_entropy(np.stack([0 * x, x], axis=-1), t, reduction="none")
    b = losses.binary_cross_entropy_with_logits(x, t.astype(float), reduction="none")
    np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-300)


def test_classes_are_on_the_last_axis() -> None:
    scores = generator(6).standard_normal((2, 5, 3))
    labels = generator(7).integers(0, 3, (2, 5))
    y = losses.cross_entropy(tg.tensor(scores), labels, reduction="none")
    assert y.shape == (2, 5)
    for i in range(2):
        row = losses.cross_entropy(tg.tensor(scores[i]), labels[i], reduction="none")
        assert np.array_equal(y.data[i], row.data)


# --- subgradients and extremes -------------------------------------------------------------------


def gradient(loss: Any, x: Any, *args: Any, **options: Any) -> Any:
    t = tg.tensor(x, requires_grad=True)
    loss(t, *args, **options, reduction="sum").backward()
    return t.grad


def test_subgradients() -> None:
    assert gradient(losses.l1_loss, [1.0, 2.0, 0.0], [1.0, 1.0, 1.0]).tolist() == [0, 1, -1]
    assert gradient(losses.huber_loss, [1.0, -1.0, 0.0], [0.0] * 3).tolist() == [1, -1, 0]
    assert gradient(losses.huber_loss, [2.5, -2.5], [0.0] * 2, delta=2.5).tolist() == [2.5, -2.5]
    assert gradient(losses.hinge_loss, [1.0, -1.0, 0.5, 2.0], [1, -1, 1, -1]).tolist() == [
        0, 0, -1, 1,
    ]  # fmt: skip


def test_rows_of_extremes() -> None:
    # The rows of PyTorch and JAX for extreme inputs: value, gradient.
    x = tg.tensor([[1000.0, -1000.0]], requires_grad=True)
    y = losses.cross_entropy(x, np.array([1]))
    y.backward()
    assert (y.item(), x.grad.tolist()) == (2000.0, [[1.0, -1.0]])

    x = tg.tensor([0.0, -math.inf], requires_grad=True)
    y = losses.cross_entropy(x, np.array([1.0, 0.0]))  # 0 * -inf counts as 0
    y.backward()
    assert (y.item(), x.grad.tolist()) == (0.0, [0.0, 0.0])

    y = losses.cross_entropy(tg.tensor([[2.0, 1.0, 0.0]]), np.array([0]), label_smoothing=0.1)
    assert math.isclose(y.item(), 0.5076060, abs_tol=5e-8)
    y = losses.cross_entropy(
        tg.tensor([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1]), weight=[1.0, 3.0]
    )
    assert math.isclose(y.item(), 0.5515924, abs_tol=5e-8)


@pytest.mark.parametrize(
    ("p", "t", "value", "slope"),
    [(0.0, 1.0, 100, -1e12), (1.0, 0.0, 100, 1e12), (1.0, 1.0, 0, 0), (0.0, 0.0, 0, 0),
     (1e-50, 1.0, 100, -1e12)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_at_the_ends(
    p: float, t: float, value: float, slope: float, dtype: str
) -> None:
    x = tg.tensor(p, dtype, requires_grad=True)
    y = losses.binary_cross_entropy(x, np.array(t, dtype))
    y.backward()
    np.testing.assert_allclose([y.item(), x.grad], [value, slope], rtol=1e-6)


def test_binary_cross_entropy_has_a_gradient_for_the_target_at_the_ends() -> None:
    t = tg.tensor([0.5, 0.5], requires_grad=True)
    losses.binary_cross_entropy(np.array([0.0, 1.0]), t, reduction="sum").backward()
    # log(1 - p) - log(p), both limited to -100.
    assert t.grad.tolist() == [100.0, -100.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_loss_overflows_or_warns_on_extreme_input(dtype: str) -> None:
    big = float(np.finfo(dtype).max) / 4
    for x in ([big, -big], [1e4, -1e4], [0.0, big]):
        a = np.array(x, dtype)
        zero = np.zeros(2, dtype)
        for loss in (losses.l1_loss, losses.huber_loss, losses.binary_cross_entropy_with_logits):
            for reduction in ("none", "mean"):
                t = tg.tensor(a, requires_grad=True)
                y = loss(t, zero, reduction=reduction)
                y.backward(np.ones(y.shape))
                assert np.isfinite(y.data).all(), loss
                assert np.isfinite(t.grad).all(), loss
        for options in SMOOTHINGS:
            t = tg.tensor(a, requires_grad=True)
            y = losses.cross_entropy(t, np.array(0), **options)
            y.backward()
            assert math.isfinite(y.item())
            assert np.isfinite(t.grad).all()


def test_huber_of_an_infinite_error() -> None:
    x = tg.tensor([math.inf, -math.inf], requires_grad=True)
    y = losses.huber_loss(x, np.zeros(2), delta=2.0, reduction="sum")
    y.backward()
    assert y.item() == math.inf
    assert x.grad.tolist() == [2.0, -2.0]


def test_nan_is_never_hidden() -> None:
    pairs: list[Any] = [([math.nan, 0.5], [0.0, 0.0]), ([0.0, 0.5], [math.nan, 0.0])]
    with np.errstate(invalid="ignore"):  # NumPy's logaddexp warns of a nan that goes in
        for name in (n for n in ELEMENTWISE if n != "hinge_loss"):
            for prediction, target in pairs:
                assert math.isnan(getattr(losses, name)(tg.tensor(prediction), target).item()), name
        assert math.isnan(losses.hinge_loss(tg.tensor([math.nan]), [1]).item())
        assert math.isnan(losses.cross_entropy(tg.tensor([[math.nan, 0.0]]), [1]).item())


# --- dtypes and kinds of input -------------------------------------------------------------------

TARGETS: list[tuple[str, Any]] = [
    ("mse_loss", [[0.5, 1.0], [0.25, 0.0]]),
    ("l1_loss", [[0.5, 1.0], [0.25, 0.0]]),
    ("huber_loss", [[0.5, 1.0], [0.25, 0.0]]),
    ("hinge_loss", [[-1, 1], [1, 1]]),
    ("nll_loss", [1, 0]),
    ("cross_entropy", [1, 0]),
    ("cross_entropy", [1, -100]),
    ("cross_entropy", [[0.5, 0.5], [0.25, 0.75]]),
    ("binary_cross_entropy", [[0.5, 1.0], [0.25, 0.0]]),
    ("binary_cross_entropy_with_logits", [[0.5, 1.0], [0.25, 0.0]]),
]
KINDS: dict[str, Callable[[Any], Any]] = {
    "list": lambda t: t,
    "default array": np.array,
    "float32 array": lambda t: np.array(t, "float32"),
    "int array": lambda t: np.array(t).astype(int),
    "tensor": lambda t: tg.tensor(np.array(t, "float32")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "target"), TARGETS)
def test_a_float32_prediction_gives_a_float32_loss(
    name: str, target: Any, reduction: str, kind: str
) -> None:
    labels = isinstance(target[0], int)
    soft = name == "cross_entropy" and not labels
    if (labels and kind != "list") or (soft and kind == "int array"):
        kind = "default array"
    x = tg.tensor([[0.5, 0.25], [0.75, 0.5]], "float32", requires_grad=True)
    y = getattr(losses, name)(x, KINDS[kind](target), reduction=reduction)
    assert y.dtype == np.float32
    y.backward(np.ones(y.shape))
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("options", [{"weight": WEIGHT[:2]}, {"label_smoothing": 0.1},
                                     {"weight": WEIGHT[:2], "label_smoothing": 0.1}])  # fmt: skip
@pytest.mark.parametrize("target", [[1, 0], [1, -100], [[0.5, 0.5], [0.25, 0.75]]])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_options_keep_float32(options: Any, target: Any, reduction: str) -> None:
    x = tg.tensor([[0.5, 0.25], [0.75, 0.5]], "float32", requires_grad=True)
    y = losses.cross_entropy(x, target, **options, reduction=reduction)
    assert y.dtype == np.float32


@pytest.mark.parametrize(("name", "target"), TARGETS)
def test_lists_arrays_and_tensors_give_the_same_number(name: str, target: Any) -> None:
    prediction = [[0.5, 0.25], [0.75, 0.5]]
    loss = getattr(losses, name)
    expected = loss(tg.tensor(prediction), tg.tensor(target)).item()
    assert loss(prediction, target) == expected
    assert loss(np.array(prediction), np.array(target)) == expected
    assert loss(tg.tensor(prediction), target).item() == expected
    assert isinstance(loss(np.array(prediction), np.array(target)), float | np.ndarray)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if "cross" not in n])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_values(name: str, reduction: str) -> None:
    x, t = 0.25, 1.0
    tensor = tg.tensor(x, requires_grad=True)
    expected = getattr(losses, name)(tensor, np.array(t), reduction=reduction)
    expected.backward()
    value = tg.Value(x)
    y = getattr(losses, name)(value, tg.Value(t), reduction=reduction)
    y.backward()
    assert math.isclose(float(y.data), expected.item())
    assert math.isclose(value.grad, tensor.grad)


def test_a_list_of_nodes_is_refused_with_the_remedy() -> None:
    with pytest.raises(NotDifferentiableError, match=r"np\.stack"):
        losses.mse_loss([tg.Value(1.0), tg.Value(2.0)], [0.0, 0.0])


def test_a_loss_of_changed_parameters_is_stale() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True, label="w")
    loss = losses.mse_loss(w * w, np.zeros(2))
    w.data = [3.0, 4.0]
    with pytest.raises(StaleGraphError, match="'w'"):
        loss.backward()


# --- a user's own losses -------------------------------------------------------------------------


def focal_loss(logits: Any, labels: Any, gamma: float = 2.0) -> Any:
    """Lin et al., https://arxiv.org/abs/1708.02002, equation 4, over classes."""
    surprise = losses.nll_loss(tg.log_softmax(logits), labels, reduction="none")
    return (surprise * (1.0 - np.exp(-surprise)) ** gamma).mean()


def quantile_loss(prediction: Any, target: Any, q: float) -> Any:
    """Koenker and Bassett's check function, doi:10.2307/1913643."""
    error = target - prediction
    return np.maximum(q * error, (q - 1.0) * error).mean()


def test_a_focal_loss_trains() -> None:
    x = generator(10).standard_normal((60, 2))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = nn.MLP(2, [16, 2], activation="tanh", rng=1, dtype="float64")
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    first = focal_loss(model(x), labels).item()
    # By hand: -(1 - p)^2 log p of the label's probability p.
    p = tg.softmax(model(x)).data[np.arange(60), labels]
    assert math.isclose(first, np.mean(-((1 - p) ** 2) * np.log(p)), rel_tol=1e-12)

    def of_bias(b: Any) -> float:
        return float(focal_loss(model(x).data - model.layers[1].bias.data + b, labels))

    loss = focal_loss(model(x), labels)
    loss.backward()
    bias = model.layers[1].bias
    np.testing.assert_allclose(bias.grad, central_differences(of_bias, bias.data), atol=1e-9)
    for _ in range(150):
        optimizer.zero_grad()
        loss = focal_loss(model(x), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first
    assert (model(x).data.argmax(axis=1) == labels).mean() > 0.95


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_a_quantile_loss_finds_the_quantile(q: float) -> None:
    sample = generator(11).exponential(size=501)
    estimate = tg.tensor(1.0, requires_grad=True)
    optimizer = optim.SGD([estimate], lr=0.3)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.3 / (1 + 0.02 * step)
        optimizer.zero_grad()
        quantile_loss(estimate, sample, q).backward()
        optimizer.step()
    assert abs(estimate.item() - np.quantile(sample, q)) < 0.03


@pytest.mark.parametrize("name", ["mse_loss", "huber_loss", "l1_loss"])
def test_each_regression_loss_finds_the_centre_it_is_made_for(name: str) -> None:
    sample = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    centre = tg.tensor(np.float64(10.0), requires_grad=True)
    optimizer = optim.SGD([centre], lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        getattr(losses, name)(np.broadcast_to(centre, 5), sample, reduction="mean").backward()
        optimizer.step()
    # The mean; 0.5 above the middle of the inner points, where one unit of slope balances the
    # outlier; the median.
    expected = {"mse_loss": 21.2, "huber_loss": 2.0, "l1_loss": 2.0}[name]
    assert abs(centre.item() - expected) < 0.11


def test_warnings_are_errors_here() -> None:
    # What the tests of "no warning" above rely on.
    with pytest.raises(RuntimeWarning):
        warnings.warn("seen", RuntimeWarning, stacklevel=1)


@pytest.mark.parametrize(
    "target", [np.full((2, 3), 1.0), np.full((2, 3), -1.0), [[2, -1, 0.0]] * 2]
)
def test_soft_targets_that_are_no_probabilities_are_refused(target: Any) -> None:
    with pytest.raises(LossError, match="sum to 1"):
        losses.cross_entropy(tg.tensor(np.zeros((2, 3))), np.asarray(target))


def test_negative_class_weights_are_refused() -> None:
    with pytest.raises(LossError, match="negative"):
        losses.cross_entropy(tg.tensor(np.zeros((2, 3))), np.array([0, 1]), weight=[1.0, -2.0, 3.0])
