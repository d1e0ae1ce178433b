"""Whether two devices differ in what they get wrong on the same frames."""


def mcnemar(fixed: int, broken: int) -> float:
    """The two-sided p-value of McNemar's test, exact: the sign test on the frames that changed sides.

    ``min(1, 2 * sum_{i <= min(b, c)} C(b + c, i) / 2 ** (b + c))`` (McNemar 1947; Fay 2010, exact form).

    Args:
        fixed: frames that only the old device got wrong.
        broken: frames that only the new one got wrong.

    Raises:
        ValueError: one of them is negative.
    """
    if fixed < 0 or broken < 0:
        raise ValueError(f"{fixed} and {broken} frames")
    changed = fixed + broken
    term = tail = 1
    for i in range(min(fixed, broken)):
        term = term * (changed - i) // (i + 1)  # C(n, i + 1), without the factorials of math.comb
        tail += term
    p: float = 2 * tail / (1 << changed)
    return min(1.0, p)


def kappa(both_hard: int, first_only: int, second_only: int, both_easy: int) -> float | None:
    """Cohen's kappa of two devices' verdicts: 1 for the same, 0 for as alike as by chance (Cohen 1960).

    Args:
        both_hard: frames that both get wrong.
        first_only: frames that only the first does.
        second_only: frames that only the second does.
        both_easy: frames that neither does.

    Returns:
        None without frames. Two that say the same of every frame have 1, also where chance would say so too.
    """
    total = both_hard + first_only + second_only + both_easy
    if not total:
        return None
    agreed = both_hard + both_easy
    if agreed == total:
        return 1.0
    first, second = both_hard + first_only, both_hard + second_only
    chance = first * second + (total - first) * (total - second)  # over total ** 2
    return (agreed * total - chance) / (total * total - chance)
