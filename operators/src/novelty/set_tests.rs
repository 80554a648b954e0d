use super::*;
use crate::testing::Rng;

/// One set, alone in a room.
#[derive(Clone)]
struct Alone {
    sets: [Set; VIEWS],
    room: Room,
    index: usize,
}

/// The distance of a value that is then learnt.
fn observe(sets: &mut [Set; VIEWS], room: &mut Room, index: usize, y: f32) -> f32 {
    let look = sets[index].look(y, room.of(index));
    let values = room.room(sets, index);
    sets[index].learn(look, true, values);
    look.distance
}

impl Alone {
    fn new(index: usize) -> Self {
        Self { sets: [Set::default(); VIEWS], room: Room::new(), index }
    }

    fn observe(&mut self, y: f32) -> f32 {
        observe(&mut self.sets, &mut self.room, self.index, y)
    }

    fn current(&self) -> Vec<f32> {
        let Seen { current, lane, .. } = self.room.of(self.index);
        let count = usize::from(self.sets[self.index].current);
        current[..count].iter().map(|word| lane.get(*word)).collect()
    }
}

#[test]
fn values_ascend_further_apart_than_the_resolution_and_the_ends_stay() {
    (0..VIEWS).for_each(ascending);
}

fn ascending(view: usize) {
    let mut rng = Rng::new(3);
    let mut set = Alone::new(view);
    let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
    for index in 0..7_999 {
        let sign = if view > 0 && rng.below(2) == 0 { -1.0 } else { 1.0 };
        let y = sign * rng.exponential() * if rng.below(50) == 0 { 1e6 } else { 1.0 };
        let distance = set.observe(y);
        assert!(distance >= 0.0 && distance.is_finite(), "sample {index}");
        let (values, resolution) = (set.current(), set.sets[view].resolution);
        assert!(values.len() <= VALUES_MAX);
        let apart = |pair: &[f32]| pair[1] - pair[0] > resolution;
        assert!(values.windows(2).all(apart), "sample {index}: {values:?}");
        least = smaller(least, y);
        greatest = larger(greatest, y);
        // What is not kept is within the resolution of something that is, as far as the lane tells them apart.
        for end in [least, greatest] {
            let slack = if view > 0 { end.abs() / 256.0 } else { 0.0 };
            assert!(set.clone().observe(end) <= resolution + slack, "sample {index}: {end}");
        }
    }
}

#[test]
fn values_are_news_again_after_two_generations() {
    let mut set = Alone::new(0);
    set.observe(100.0);
    for index in 1..16_000 {
        set.observe(0.0);
        if index == 8_000 {
            assert!(set.clone().observe(100.0) <= 0.0, "the earlier generation knows it");
        }
    }
    assert!((set.observe(100.0) - 100.0).abs() < 1e-6);
}

#[test]
fn room_grows_with_what_it_holds_and_no_further() {
    let mut set = Alone::new(1);
    (0..20_000).for_each(|_| assert!(set.observe(3.5) <= 0.0));
    assert_eq!(set.room.heap_bytes(), 128);
    let mut set = Alone::new(2);
    for index in 0..20_000_u16 {
        set.observe(f32::from(index % 1_000));
    }
    assert_eq!(set.room.heap_bytes(), Room::BYTES_MAX);
    assert_eq!(Room::BYTES_MAX, 840);
}

#[test]
fn sets_that_share_a_room_do_not_touch_each_other() {
    let mut rng = Rng::new(5);
    let mut alone = [0, 1, 2].map(Alone::new);
    let (mut sets, mut room) = ([Set::default(); VIEWS], Room::new());
    for _ in 0..20_000 {
        // One with many values, one with few, one with a single value.
        let views = [rng.exponential(), rng.exponential().floor(), 1.0];
        for (index, y) in views.into_iter().enumerate() {
            let together = observe(&mut sets, &mut room, index, y);
            assert_eq!(together.to_bits(), alone[index].observe(y).to_bits());
        }
    }
}

#[test]
fn subnormal_and_huge_values_are_thinned() {
    for (view, unit) in [(0, f32::from_bits(1)), (0, 1e-38), (0, 1e29), (1, 1e-38), (2, 1e29)] {
        let mut set = Alone::new(view);
        for index in 0..3_000_u16 {
            let distance = set.observe(f32::from(index * 7 % 100) * unit);
            assert!(distance.is_finite());
        }
        assert!((11..=VALUES_MAX).contains(&set.current().len()), "{unit}");
    }
}

#[test]
fn floats_of_earlier_versions_become_what_lanes_hold() {
    let (mut rng, mut sets, mut room) = (Rng::new(9), [Set::default(); VIEWS], Room::new());
    for index in [0, 1, 2].into_iter().cycle().take(30_000) {
        observe(&mut sets, &mut room, index, rng.exponential() - 1.0);
    }
    let mut wide = FieldWriter::default();
    for (index, set) in sets.iter().enumerate() {
        let Seen { current, earlier, lane } = room.of(index);
        for (words, count) in [(current, set.current), (earlier, set.earlier)] {
            // The second one, a bit nearer to zero or further from it, is the first one in a lane.
            let twice = lane != Lane::Whole && usize::from(count) < EARLIER_MAX;
            wide.u8(count + u8::from(twice));
            for (at, word) in words[..usize::from(count)].iter().enumerate() {
                wide.f32(lane.get(*word));
                if at == 0 && twice {
                    wide.f32(f32::from_bits(lane.get(*word).to_bits() + 1));
                }
            }
        }
        wide.f32(set.resolution);
        wide.u16(set.samples);
    }
    let wide = wide.into_bytes();
    let (read, read_sets) = Room::decode(&mut FieldReader::new(&wide), true).unwrap();
    let encoded = |room: &Room, sets| {
        let mut out = FieldWriter::default();
        room.encode(sets, &mut out);
        out.into_bytes()
    };
    let stored = encoded(&room, &sets);
    assert_eq!(encoded(&read, &read_sets), stored);
    assert!(stored.len() + 2 * 2 * 60 < wide.len(), "two sets take half of it");
    let (read, read_sets) = Room::decode(&mut FieldReader::new(&stored), false).unwrap();
    assert_eq!(encoded(&read, &read_sets), stored);
}
