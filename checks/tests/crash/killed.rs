//! `kill -9` of kiln at random moments of a build with downloads, chains and
//! parallel builders.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_checks::Events;
use rustix::process::Signal;

use crate::support::process::{Running, of_store, until};
use crate::support::server::{Answer, Server, noise, pinned};
use crate::support::{Shop, Who, names};

/// How many kills have to hit a kiln that works.
const KILLS: usize = 30;
/// Packages in the graph: five chains of five, and five that join them.
const CHAINS: usize = 5;
const LENGTH: usize = 5;

/// The graph. A script's environment has `generation`, so that another one
/// means to build everything anew.
fn graph(generation: usize, urls: &[String]) -> String {
    let mut text = String::new();
    for (number, url) in urls.iter().enumerate() {
        text += &format!("[source.s{number}]\nraw = true\nurl = \"{url}\"\n");
    }
    let mut package = |name: &str, needs: &str| {
        text += &format!(
            "[package.{name}]\nroot = \"base\"\n{needs}\nscript = \"p.sh\"\n\
             env = {{ NAME = \"{name}\", GENERATION = \"{generation}\" }}\n"
        );
    };
    for chain in 0..CHAINS {
        package(
            &format!("c{chain}-0"),
            &format!("source = \"s{}\"", chain % urls.len()),
        );
        for link in 1..LENGTH {
            let needs = format!("materials = [\"c{chain}-{}\"]", link - 1);
            package(&format!("c{chain}-{link}"), &needs);
        }
    }
    for join in 0..CHAINS {
        let last = LENGTH - 1;
        let needs = format!(
            "materials = [\"c{join}-{last}\", \"c{}-{last}\"]",
            (join + 1) % CHAINS
        );
        package(&format!("j{join}"), &needs);
    }
    let all: Vec<_> = (0..CHAINS).map(|join| format!("\"j{join}\"")).collect();
    text + &format!("[compose.all]\npackages = [{}]\n", all.join(", "))
}

/// Makes many small files, a few large ones, links, and children that a kill
/// leaves behind if nobody ends them.
const SCRIPT: &str = r#"
sleep 1000 &
mkdir /out/$NAME
i=0
while [ $i -lt 40 ]; do
    i=$((i+1))
    echo $NAME $GENERATION $i > /out/$NAME/$i
done
head -c 300000 /dev/zero | tr '\0' "$GENERATION" > /out/$NAME/large
ln -s 1 /out/$NAME/link
ln /out/$NAME/2 /out/$NAME/hard
sleep 0.05
echo $NAME
"#;

/// Random numbers from a seed that is told.
struct Random(u64);

impl Random {
    fn of_now() -> Self {
        let seed = match std::env::var("KILN_CHECKS_SEED") {
            Ok(seed) => seed.parse().expect("KILN_CHECKS_SEED is a number"),
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                now.expect("it is after 1970").as_nanos() as u64
            }
        };
        println!("KILN_CHECKS_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// The build that is killed again and again.
struct Victim {
    shop: Shop,
    contents: Vec<Vec<u8>>,
    urls: Vec<String>,
    generation: usize,
    /// What was reported as built in this generation.
    reported: BTreeSet<String>,
}

impl Victim {
    fn new(who: Who) -> Self {
        let contents: Vec<_> = (0..2).map(|seed| noise(seed, 200_000)).collect();
        let servers = contents
            .iter()
            .cloned()
            .map(Answer::Slowly)
            .map(Server::start);
        let urls = servers.map(|server| server.url("file")).collect();
        let victim = Self {
            shop: Shop::new(who, ""),
            contents,
            urls,
            generation: 0,
            reported: BTreeSet::new(),
        };
        victim.shop.write("p.sh", SCRIPT);
        victim.write();
        victim
    }

    fn write(&self) {
        self.shop.packages(&graph(self.generation, &self.urls));
        let pins = self.contents.iter().zip(&self.urls).enumerate();
        let pin = |(number, (content, url)): (usize, (&Vec<u8>, &String))| {
            pinned(&format!("s{number}"), std::slice::from_ref(url), content)
        };
        self.shop.lock(pins.map(pin).collect());
    }

    /// From now on everything has to be built anew.
    fn begin_anew(&mut self) {
        self.generation += 1;
        self.reported.clear();
        self.write();
    }

    fn start(&self) -> Running {
        let build = ["build", "--no-result", "--jobs", "4", "all"];
        Running::start(self.shop.kiln(&build))
    }

    /// Nothing of the last kiln runs; the store is sound; whatever any kiln
    /// reported is there, and would not be built again.
    fn judge(&mut self, events: &Events) {
        until("nothing of it runs", || {
            of_store(&self.shop.store()).is_empty()
        });
        self.shop.kiln(&["verify"]).succeed();
        self.reported.extend(events.of_kind("built").map(name));
        let planned = self.shop.kiln(&["build", "--dry-run", "all"]).json();
        for verb in ["build", "download", "unknown_yet"] {
            for planned in planned[verb].as_array().expect("it is a list") {
                let planned = planned.as_str().expect("it is a name");
                let planned = planned.split(' ').next().expect("it has a name");
                assert!(
                    !self.reported.contains(planned),
                    "{planned} was built already"
                );
            }
        }
    }
}

fn name(event: &serde_json::Value) -> String {
    let name = event["derivation"]["name"].as_str();
    name.expect("a derivation has a name").to_owned()
}

fn check(who: Who) {
    let mut random = Random::of_now();
    let mut victim = Victim::new(who);
    let mut kills = 0;
    while kills < KILLS {
        let mut kiln = victim.start();
        let pause = Duration::from_micros(random.below(600_000));
        thread::sleep(pause);
        let hit = kiln.is_running();
        if hit {
            kiln.signal(Signal::KILL);
        }
        let ended = kiln.wait();
        victim.judge(&ended.events);
        match ended.status {
            // A kill after the last word was one of a kiln that had ended.
            None => kills += 1,
            Some(status) => {
                assert_eq!(status, 0, "{}", ended.stderr);
                victim.begin_anew();
            }
        }
        println!(
            "{kills}: generation {}, {pause:?}, {} reported",
            victim.generation,
            victim.reported.len()
        );
    }
    let last = victim.start().wait();
    assert_eq!(last.status, Some(0), "{}", last.stderr);
    let to = victim.shop.path().join("all");
    let path = to.to_str().expect("checks choose plain names");
    victim
        .shop
        .kiln(&["build", "--offline", "all", "--out", path])
        .succeed();
    assert_eq!(names(&to).len(), CHAINS);
    for join in 0..CHAINS {
        let large = fs::metadata(to.join(format!("j{join}/large"))).expect("it is there");
        assert_eq!(large.len(), 300_000);
    }
    victim.shop.assert_sound();
}

#[test]
fn at_thirty_random_moments() {
    check(Who::me());
}

#[test]
fn at_thirty_random_moments_of_an_ordinary_user() {
    // Where the checks run as one, the test above was that.
    if Who::me() == Who::Root {
        check(Who::User);
    }
}
