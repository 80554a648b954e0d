use super::*;
use crate::testing::Rng;

/// One set in its room.
#[derive(Clone)]
struct Alone {
    sets: [Set; 1],
    room: Room<1>,
}

/// The distance of a value that is then learnt.
fn observe<const SETS: usize>(
    sets: &mut [Set; SETS],
    room: &mut Room<SETS>,
    index: usize,
    y: f32,
) -> f32 {
    let look = sets[index].look(y, room.of(index));
    let values = room.room(sets, index);
    sets[index].learn(look, true, values);
    look.distance
}

impl Alone {
    fn new() -> Self {
        Self { sets: [Set::default()], room: Room::new() }
    }

    fn observe(&mut self, y: f32) -> f32 {
        observe(&mut self.sets, &mut self.room, 0, y)
    }

    fn current(&self) -> &[f32] {
        self.room.held(self.sets[0], 0)[0]
    }
}

#[test]
fn values_ascend_further_apart_than_the_resolution_and_the_ends_stay() {
    let mut rng = Rng::new(3);
    let mut set = Alone::new();
    let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
    for index in 0..7_999 {
        let y = rng.exponential() * if rng.below(50) == 0 { 1e6 } else { 1.0 };
        let distance = set.observe(y);
        assert!(distance >= 0.0 && distance.is_finite(), "sample {index}");
        let (values, resolution) = (set.current(), set.sets[0].resolution);
        assert!(values.len() <= VALUES_MAX);
        let apart = |pair: &[f32]| pair[1] - pair[0] > resolution;
        assert!(values.windows(2).all(apart), "sample {index}: {values:?}");
        least = smaller(least, y);
        greatest = larger(greatest, y);
        // What is not kept is within the resolution of something that is.
        assert!(set.clone().observe(least) <= resolution);
        assert!(set.clone().observe(greatest) <= resolution);
    }
}

#[test]
fn values_are_news_again_after_two_generations() {
    let mut set = Alone::new();
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
    let mut set = Alone::new();
    (0..20_000).for_each(|_| assert!(set.observe(3.5) <= 0.0));
    assert_eq!(set.room.heap_bytes(), 2 * VALUES_FIRST * 4);
    let mut set = Alone::new();
    for index in 0..20_000_u16 {
        set.observe(f32::from(index % 1_000));
    }
    assert_eq!(set.room.heap_bytes(), (VALUES_MAX + 1 + EARLIER_MAX) * 4);
}

#[test]
fn sets_that_share_a_room_do_not_touch_each_other() {
    let mut rng = Rng::new(5);
    let mut alone = [Alone::new(), Alone::new(), Alone::new()];
    let (mut sets, mut room) = ([Set::default(); 3], Room::new());
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
    for unit in [f32::from_bits(1), 1e-38, 1e29] {
        let mut set = Alone::new();
        for index in 0..3_000_u16 {
            let distance = set.observe(f32::from(index * 7 % 100) * unit);
            assert!(distance.is_finite());
        }
        assert!((11..=VALUES_MAX).contains(&set.current().len()), "{unit}");
    }
}
