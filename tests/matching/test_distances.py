"""What is compared of a class's features, against the equations."""

import pytest
import torch
from torch.nn import functional as F

from dm_replay import CondenseConfig, condense
from dm_replay.matching.losses import FREQUENCY, Distance, matching_loss


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 7, 5, generator=generator, dtype=torch.float64)


def refreshed(name, seed=1):
    distance = Distance(name, 5, dtype=torch.float64)
    distance.refresh(torch.Generator().manual_seed(seed))
    return distance


def test_the_mean_is_the_features_themselves(features):
    assert refreshed("mean")(features) is features


def test_moments_compare_means_and_mean_squares(features):
    statistics = refreshed("moments")(features)
    loss = matching_loss(statistics[0].mean(0)[None], statistics[1][None])
    wanted = (features[0].mean(0) - features[1].mean(0)).square().sum()
    wanted += (features[0].square().mean(0) - features[1].square().mean(0)).square().sum()
    torch.testing.assert_close(loss, wanted)


def test_characteristic_functions_are_those_of_the_equation(features):
    distance = refreshed("characteristic")
    statistics = distance(features)
    loss = matching_loss(statistics[0].mean(0)[None], statistics[1][None])
    functions = []
    for images in F.normalize(features, dim=-1):
        waves = [torch.exp(1j * FREQUENCY * (distance.waves.to(x) @ x)) for x in images]
        functions.append(torch.stack(waves).mean(0))
    wanted = 5 / FREQUENCY**2 * (functions[0] - functions[1]).abs().square().mean()
    torch.testing.assert_close(loss, wanted)


def test_over_many_draws_it_is_the_discrepancy_of_a_gaussian_kernel(features):
    real, synthetic = F.normalize(features, dim=-1)

    def kernel(one, other):
        return torch.exp(-(FREQUENCY**2) / 2 * torch.cdist(one, other).square()).mean()

    wanted = 5 / FREQUENCY**2 * (kernel(real, real) - 2 * kernel(real, synthetic) + kernel(synthetic, synthetic))
    losses = []
    for seed in range(60):
        statistics = refreshed("characteristic", seed)(features)
        losses.append(matching_loss(statistics[0].mean(0)[None], statistics[1][None]))
    error = torch.stack(losses).std() / 60**0.5
    assert abs(torch.stack(losses).mean() - wanted) < 4 * error < 0.1 * wanted


def test_features_of_zero_have_a_gradient():
    features = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(refreshed("characteristic")(features).sum(), features)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["moments", "characteristic"])
def test_a_run_resumes_to_the_same_pixels(pool, name):
    config = CondenseConfig.preset(
        "paper", ipc=2, iterations=4, batch_real=8, network="convnet:width=8", compile="no", device="cpu", distance=name
    )
    states = []
    whole = condense(pool, config, on_step=lambda p: states.append(p.state))
    assert torch.equal(condense(pool, config, state=states[1]).images, whole.images)
    assert not torch.equal(
        whole.images, condense(pool, CondenseConfig.preset("paper", **vars(config) | {"distance": "mean"})).images
    )


def test_an_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="distance"):
        CondenseConfig.preset("paper", distance="median")
