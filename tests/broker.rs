//! A real Kafka broker: Apache Kafka in KRaft mode, as `tests/broker/pom.xml` names it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, iter, process};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::server::tell;

/// A busy machine has a broker up within this.
const PATIENCE: Duration = Duration::from_secs(120);
/// The broker's own log; Java's classes are those of `./test`.
const LIBS: &str = "target/kafka/libs";

/// A broker. It is killed where a test ends without stopping it.
pub(crate) struct Broker {
    dir: PathBuf,
    child: Option<Child>,
    port: u16,
    locks: Option<Locks>,
}

/// Addresses with TLS: without and with a user's name and password.
#[derive(Clone, Copy, Debug)]
struct Locks {
    ssl: u16,
    sasl_ssl: u16,
}

/// A user that brokers with locks know, by PLAIN and by SCRAM-SHA-256.
pub(crate) const USER: &str = "tidewatch-user";
/// The user's password.
pub(crate) const PASSWORD: &str = "right-secret-4711";

/// A port that nobody has; the broker keeps it over restarts. It is below those that the kernel gives to clients: one that
/// reconnects while the broker is down could be given the broker's own, connect to itself, and keep the broker from coming up.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let offset = process::id().wrapping_mul(97);
    let ports = iter::repeat_with(|| offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    ports
        .map(|at| 12_000 + u16::try_from(at % 18_000).unwrap())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

fn java(dir: &Path) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("java");
    command.current_dir(dir).args(["-Xms256m", "-Xmx256m", "-Djava.net.preferIPv4Stack=true"]);
    let log = root.join("tests/broker/log4j2.properties");
    command.arg(format!("-Dlog4j2.configurationFile={}", log.display()));
    command.arg("-cp").arg(root.join(LIBS).join("*"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let log = fs::File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
    command.stderr(log);
    command
}

impl Broker {
    /// A broker of its own in `dir`, up; `None` where Kafka or Java is not here, which is told.
    pub(crate) fn up(dir: &Path) -> Option<Self> {
        Self::with(dir, None)
    }

    /// The same with this certificate and its key in PEM, for [`Broker::ssl`] and [`Broker::sasl_ssl`].
    pub(crate) fn locked(dir: &Path, certificate: &str) -> Option<Self> {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("keystore.pem"), certificate).unwrap();
        Self::with(dir, Some(Locks { ssl: free_port(), sasl_ssl: free_port() }))
    }

    fn with(dir: &Path, locks: Option<Locks>) -> Option<Self> {
        let libs = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIBS);
        let is_here = libs.with_file_name("pom.xml").exists();
        if !is_here || Command::new("java").arg("-version").output().is_err() {
            tell(
                "target/kafka or Java is not there: tests with a real broker are skipped; ./test makes it",
            );
            return None;
        }
        fs::create_dir_all(dir).unwrap();
        let (port, control) = (free_port(), free_port());
        let text = properties(port, control)
            + &locks.map_or_else(String::new, |l| locked(port, control, l));
        fs::write(dir.join("server.properties"), text).unwrap();
        let mut format = java(dir);
        format.args(["kafka.tools.StorageTool", "format", "-g", "-t", "MkU3OEVBNTcwNTJENDM2Qk"]);
        format.args(["-c", "server.properties"]);
        if locks.is_some() {
            format
                .args(["--add-scram", &format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]")]);
        }
        let format = format.status().unwrap();
        if stderr(dir).contains("UnsupportedClassVersionError") {
            tell("Java is older than 17: tests with a real broker are skipped");
            return None;
        }
        assert!(format.success(), "{}", stderr(dir));
        let mut broker = Self { dir: dir.to_owned(), child: None, port, locks };
        broker.start();
        Some(broker)
    }

    /// Starts it again, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let child = java(&self.dir).args(["kafka.Kafka", "server.properties"]).spawn().unwrap();
        self.child = Some(child);
        let client: BaseConsumer = self.client().create().unwrap();
        let second = Duration::from_secs(1);
        let is_up = (0..PATIENCE.as_secs()).any(|_| client.fetch_metadata(None, second).is_ok());
        assert!(is_up, "{}", stderr(&self.dir));
    }

    /// It is gone at once.
    pub(crate) fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its address with TLS.
    pub(crate) fn ssl(&self) -> String {
        format!("127.0.0.1:{}", self.locks.unwrap().ssl)
    }

    /// Its address with TLS, a name and a password.
    pub(crate) fn sasl_ssl(&self) -> String {
        format!("127.0.0.1:{}", self.locks.unwrap().sasl_ssl)
    }

    fn client(&self) -> ClientConfig {
        client(&self.address())
    }

    /// A producer that sends each message once, and in order.
    pub(crate) fn producer(&self) -> BaseProducer {
        producer(&self.address())
    }

    /// Makes a topic.
    pub(crate) fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topic = NewTopic {
            name: topic,
            num_partitions: partitions,
            replication: TopicReplication::Fixed(1),
            config: config.to_vec(),
        };
        let made = admin.create_topics([&topic], &AdminOptions::new());
        for one in futures::executor::block_on(made).unwrap() {
            one.unwrap();
        }
    }

    /// Removes a topic.
    pub(crate) fn remove(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let removed = admin.delete_topics(&[topic], &AdminOptions::new());
        for one in futures::executor::block_on(removed).unwrap() {
            one.unwrap();
        }
    }

    /// Removes the messages of a partition before an offset, as retention does.
    pub(crate) fn delete_before(&self, topic: &str, partition: i32, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let mut offsets = rdkafka::TopicPartitionList::new();
        let offset = rdkafka::Offset::Offset(offset);
        offsets.add_partition_offset(topic, partition, offset).unwrap();
        let removed = admin.delete_records(&offsets, &AdminOptions::new());
        futures::executor::block_on(removed).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            tell(&format!("the broker's log:\n{}", stderr(&self.dir)));
        }
    }
}

/// What clients of tests have in common: outages are short.
pub(crate) fn client(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config
}

/// A producer that sends each message once, and in order.
pub(crate) fn producer(address: &str) -> BaseProducer {
    let mut config = client(address);
    config.set("enable.idempotence", "true").set("linger.ms", "5");
    config.set("queue.buffering.max.messages", "1000000").set("message.timeout.ms", "300000");
    config.create().unwrap()
}

/// Hands a message over, also where the producer's queue is full for a while.
pub(crate) fn send(producer: &BaseProducer, topic: &str, partition: i32, value: Option<&[u8]>) {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(b"key");
    if let Some(value) = value {
        record = record.payload(value);
    }
    while let Err((_, refused)) = producer.send(record) {
        producer.poll(Duration::from_millis(50));
        record = refused;
    }
}

/// Waits until the broker has everything.
pub(crate) fn flush(producer: &BaseProducer) {
    producer.flush(PATIENCE).unwrap();
    // What it has to say of brokers that were away counts, too, until it is heard.
    let is_done = (0..600).any(|_| {
        producer.poll(Duration::from_millis(50));
        producer.in_flight_count() == 0
    });
    assert!(is_done, "{} messages are not sent", producer.in_flight_count());
}

fn stderr(dir: &Path) -> String {
    fs::read_to_string(dir.join("stderr")).unwrap_or_default()
}

fn properties(port: u16, control: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{control}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs=data\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         auto.create.topics.enable=false\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n\
         offsets.topic.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n"
    )
}

/// Properties that win over those above: the last line of a key counts.
fn locked(port: u16, control: u16, Locks { ssl, sasl_ssl }: Locks) -> String {
    let open = format!("PLAINTEXT://127.0.0.1:{port}");
    let closed = format!("SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl_ssl}");
    let module = "org.apache.kafka.common.security";
    format!(
        "listeners={open},CONTROLLER://127.0.0.1:{control},{closed}\n\
         advertised.listeners={open},{closed}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location=keystore.pem\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
         listener.name.sasl_ssl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
         user_{USER}=\"{PASSWORD}\";\n\
         listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
    )
}
