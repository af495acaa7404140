import pytest

from spectral_prep.errors import InputError
from spectral_train.recipe.recipes import RECIPES
from spectral_train.report.papers import OURS, PUBLISHED, Bounds, published

TNN = "paper-tnn-mnist"


@pytest.mark.parametrize(
    ("recipe", "compression", "speedup"),
    [  # long paper, sections 4.3, where its text agrees with its tables
        ("paper-alexnet-imagenet", 1.88, 1.28),
        ("paper-cyclemlp-imagenet", 1.36, 1.55),
    ],
)
def test_ratios_are_those_that_the_text_gives(recipe: str, compression: float, speedup: float) -> None:
    (found,) = published(recipe, "imagenet")
    assert found.compression == pytest.approx(compression, abs=0.01)
    assert found.speedup == pytest.approx(speedup, abs=0.01)


def test_on_another_data_set_all_tables_of_a_recipe_are_shown() -> None:
    assert [found.dataset for found in published("paper-vgg16-imagenet", "folder")] == ["imagenet", "imagenet21k"]
    assert [found.dataset for found in published("poster-mnist", "digits")] == ["mnist"]
    assert published("default", "mnist") == ()
    assert published("imagenet-vgg16", "imagenet21k") == published("paper-vgg16-imagenet", "imagenet21k") != ()


def test_every_figure_is_a_fraction_and_geometric_leads_where_the_paper_says_so() -> None:
    for found in PUBLISHED:
        accuracies = [found.baseline, *found.schemes.values()]
        assert all(0.4 < value < 1 for value in accuracies)
        if found.schemes:
            leads = found.schemes["geometric"] == max(found.schemes.values())
            assert leads or found.recipe == "paper-mobilevit-imagenet"


def test_bounds() -> None:
    assert Bounds.of("conv", 768, 32, 4).compression == (4, 16)
    assert Bounds.of("fc", 28, 28, 28).compression == (14, 392)
    with pytest.raises(InputError):
        Bounds.of("fc", 0, 28, 28)


def test_every_published_result_belongs_to_a_recipe() -> None:
    assert {found.recipe for found in PUBLISHED} == {name for name in RECIPES if name not in ("default", TNN, *OURS)}
    assert OURS.keys() < RECIPES.keys()
