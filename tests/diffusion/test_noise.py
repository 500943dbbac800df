import pytest
import torch

from starvsr.diffusion.noise import FrameNoise, frame_noise
from starvsr.diffusion.posterior import sample_posterior, split_moments


@pytest.mark.parametrize("cut", range(1, 10))
@pytest.mark.parametrize("stream", [0, 7, "start"])
def test_noise_is_the_same_for_every_cut(cut, stream):
    whole = frame_noise((1, 4, 10, 3, 5), seed=666, first_frame=0, stream=stream)
    left = frame_noise((1, 4, cut, 3, 5), seed=666, first_frame=0, stream=stream)
    right = frame_noise((1, 4, 10 - cut, 3, 5), seed=666, first_frame=cut, stream=stream)
    assert torch.equal(whole, torch.cat([left, right], dim=2))


def test_seed_step_frame_and_batch_item_all_matter():
    shape = (2, 1, 2, 4, 4)
    base = frame_noise(shape, seed=1, first_frame=0, stream=0)
    others = [
        frame_noise(shape, seed=2, first_frame=0, stream=0),
        frame_noise(shape, seed=1, first_frame=1, stream=0),
        frame_noise(shape, seed=1, first_frame=0, stream=1),
        frame_noise(shape, seed=1, first_frame=0, stream="start"),
    ]
    for other in others:
        assert not torch.isclose(base[:, :, 0], other[:, :, 0]).any()
    assert not torch.isclose(base[0], base[1]).any()
    assert not torch.isclose(base[:, :, 0], base[:, :, 1]).any()


def test_noise_is_unit_normal_and_independent_between_frames():
    noise = frame_noise((1, 4, 8, 32, 32), seed=3, first_frame=5, stream=0)
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1) < 0.02
    frames = noise[0].transpose(0, 1).flatten(1)
    correlation = torch.corrcoef(frames) - torch.eye(8)
    assert correlation.abs().max() < 0.06


def test_noise_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    frame_noise((1, 1, 2, 2, 2), seed=1, first_frame=0, stream=0)
    assert torch.equal(torch.rand(3), expected)


def test_a_noise_source_is_called_by_step():
    source = FrameNoise((1, 4, 2, 3, 5), seed=9, first_frame=4)
    assert torch.equal(source(3), frame_noise((1, 4, 2, 3, 5), seed=9, first_frame=4, stream=3))
    assert torch.equal(source(3), source(3))


def test_posterior_sampling():
    mean, logvar = split_moments(torch.cat([torch.full((1, 2, 3), 1.5), torch.full((1, 2, 3), 2.0)], dim=1))
    noise = torch.tensor([-1.0, 0.0, 1.0]).expand(1, 2, 3)
    drawn = sample_posterior(mean, logvar, noise)
    torch.testing.assert_close(drawn[0, 0], 1.5 + torch.e * torch.tensor([-1.0, 0, 1]))
    assert torch.equal(sample_posterior(mean, logvar, None), mean)


def test_posterior_variance_is_clamped():
    mean, noise = torch.zeros(1, 2), torch.ones(1, 2)
    logvar = torch.tensor([[1000.0, -1000.0]])
    expected = torch.tensor([[10.0, -15.0]]).exp()
    torch.testing.assert_close(sample_posterior(mean, logvar, noise), expected)
    assert split_moments(torch.cat([mean, logvar], dim=1))[1].tolist() == [[20, -30]]
