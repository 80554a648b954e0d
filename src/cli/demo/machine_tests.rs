//! The kernel's texts, as they are documented in proc(5).

use super::*;

const STAT: &str = "\
cpu  1000 50 300 8000 400 10 40 5 77 0
cpu0 500 25 150 4000 200 5 20 2 30 0
intr 12345
";
const MEMINFO: &str = "\
MemTotal:        8000000 kB
MemFree:          500000 kB
MemAvailable:    6000000 kB
";
const DISKSTATS: &str = "\
   8       0 sda 100 0 2000 10 50 0 4000 20 0 30 30 0 0 0 0 0 0
   8       1 sda1 90 0 1900 10 50 0 4000 20 0 30 30
 259       0 nvme0n1 10 0 300 1 5 0 70 2 0 3 3
 259       1 nvme0n1p1 10 0 300 1 5 0 70 2 0 3 3
   7       0 loop0 5 0 999 1 0 0 0 0 0 0 0
 253       0 dm-0 5 0 999 1 5 0 999 0 0 0 0
 254       0 vda 1 0 5 0 1 0 6 0 0 0 0
";
const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999999    1000    0    0    0     0          0         0   999999    1000    0    0    0     0       0          0
  eth0:  1500      20    0    0    0     0          0         0     700      10    0    0    0     0       0          0
wlan0:500 1 0 0 0 0 0 0 300 1 0 0 0 0 0 0
";

#[test]
fn processor_time_counts_guests_once_and_waiting_as_idle() {
    let ticks = cpu_ticks(STAT).unwrap();
    assert_eq!(ticks, CpuTicks { busy: 1000 + 50 + 300 + 10 + 40 + 5, all: 1405 + 8000 + 400 });
    assert_eq!(cpu_ticks("cpu  1 2 3 4\n"), Some(CpuTicks { busy: 6, all: 10 }), "old kernels");
}

#[test]
fn memory_and_load_are_read_from_their_lines() {
    assert_eq!(memory_percent(MEMINFO), Some(25.0));
    assert_eq!(load1("0.52 0.58 0.59 1/467 12345\n"), Some(0.52));
}

#[test]
fn partitions_and_stacked_devices_count_no_bytes_twice() {
    let traffic = disk_traffic(DISKSTATS).unwrap();
    assert_eq!(traffic.inward, (2000 + 300 + 5) * 512);
    assert_eq!(traffic.outward, (4000 + 70 + 6) * 512);
}

#[test]
fn the_machines_talk_with_itself_is_no_traffic() {
    assert_eq!(network_traffic(NET_DEV), Some(Traffic { inward: 2_000, outward: 1_000 }));
}

#[test]
fn texts_of_another_shape_give_nothing() {
    for text in ["", "\n", "cpu", "cpu  a b c d", "eth0: x", "8 0 sda 1", "MemTotal: kB"] {
        assert_eq!(cpu_ticks(text), None, "{text:?}");
        assert_eq!(memory_percent(text), None, "{text:?}");
        assert_eq!(disk_traffic(text), None, "{text:?}");
        assert_eq!(network_traffic(text), None, "{text:?}");
    }
    assert_eq!(load1("?"), None);
}

#[test]
fn rates_are_per_second_and_a_counter_that_went_back_gives_none() {
    let traffic = |inward, outward| Some(Traffic { inward, outward });
    let before = Counters {
        cpu: Some(CpuTicks { busy: 100, all: 1_000 }),
        disk: traffic(1_000, 5_000),
        network: traffic(100, 0),
    };
    let now = Counters {
        cpu: Some(CpuTicks { busy: 150, all: 1_200 }),
        disk: traffic(3_000, 5_000),
        network: traffic(50, 40),
    };
    let values = rates(&before, &now, 2.0).map(|(_, value)| value);
    assert_eq!(values, [Some(25.0), Some(1_000.0), Some(0.0), None, Some(20.0)]);
    let at_once = rates(&before, &before, 0.0).map(|(_, value)| value);
    assert_eq!(at_once, [None; 5]);
}

#[test]
fn a_reading_is_line_protocol_and_rates_begin_with_the_second_one() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("sys/kernel/hostname", "my host,a=1\n");
    write("loadavg", "1.25 0 0 1/1 1\n");
    write("stat", "cpu  10 0 0 10\n");
    let mut machine = Machine::new(dir.path());
    let mut out = String::new();
    machine.push_lines(7, Duration::from_secs(1), &mut out);
    assert_eq!(out, "machine_load1,host=myhosta1 value=1.25 7\n");
    write("stat", "cpu  11 0 0 12\n");
    out.clear();
    machine.push_lines(8, Duration::from_secs(2), &mut out);
    assert!(out.contains("machine_cpu_percent,host=myhosta1 value=33.33 8\n"), "{out}");
}
