import torch

from starvsr.diffusion.ddpm import DDPM, DDPMConfig
from starvsr.families.stablevsr.sampling import Guidance, sample

SCHEDULER = DDPM(DDPMConfig(beta_schedule="scaled_linear", prediction_type="sample", clip_sample=False))


class Recorder:
    """Networks whose clean estimate is a number for each call, and that note what they are asked."""

    def __init__(self):
        self.asked, self.decoded = [], 0

    def predict(self, x, lq, timestep, guide, scale):
        told = None if guide is None else round(float(guide.mean()), 3)
        self.asked.append((timestep, int(lq.mean()), told, scale))
        return torch.full_like(x, float(len(self.asked)))

    def decode(self, latent):
        self.decoded += 1
        return latent[:, :3].repeat_interleave(4, -1).repeat_interleave(4, -2)


def run(count, steps=3, **options):
    lq = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    networks, flows = Recorder(), []

    def flow(target, source):
        flows.append((target, source))
        return torch.zeros(1, 2, 16, 16)

    noise = torch.zeros(1, 4, 4, 4)
    guidance = Guidance(**{"warp": lambda frames, _: frames, **options})
    result = sample(
        networks, SCHEDULER, lq, [noise] * count, flow, SCHEDULER.timesteps(steps), lambda *_: noise, guidance=guidance
    )
    return networks, flows, result


def test_the_order_turns_round_after_every_step():
    networks, flows, _ = run(3)
    assert [frame for _, frame, *_ in networks.asked] == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    assert flows == [(1, 0), (2, 1), (1, 2), (0, 1), (1, 0), (2, 1)]


def test_a_frame_is_guided_by_the_clean_estimate_of_the_one_before_it_at_the_same_timestep():
    networks, _, _ = run(3)
    told = [guide for *_, guide, _ in networks.asked]
    assert told == [None, 1, 2, None, 4, 5, None, 7, 8]
    assert [timestep for timestep, *_ in networks.asked] == [666] * 3 + [333] * 3 + [0] * 3


def test_without_weight_nothing_is_decoded_or_warped():
    networks, flows, _ = run(3, scale=0.0)
    assert networks.decoded == 0 and flows == [] and all(guide is None for *_, guide, _ in networks.asked)


def test_guidance_is_limited_to_a_share_of_the_steps():
    networks, _, _ = run(2, steps=4, begin=0.25, end=0.75)
    guided = {timestep for timestep, _, guide, _ in networks.asked if guide is not None}
    assert guided == {500, 250}


def test_a_single_frame_needs_no_flow():
    networks, flows, result = run(1)
    assert flows == [] and networks.decoded == 0
    assert torch.equal(result[0], torch.full((1, 4, 4, 4), 3.0))


def test_results_are_in_the_order_of_the_frames_after_any_number_of_steps():
    for steps in (1, 2, 3):
        networks, _, result = run(3, steps=steps)
        last = [frame for _, frame, *_ in networks.asked[-3:]]
        values = [float(latent.mean()) for latent in result]
        assert values == [3 * (steps - 1) + 1 + last.index(frame) for frame in range(3)]
