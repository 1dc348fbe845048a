//! The steps of a walk, as data.

use natsmicro::store::StoreErrorKind;

/// What an operator does, and what follows.
#[derive(Clone, Debug)]
pub struct Step {
    /// Commands of the `nats` program, with `;` between them. In their words stand for others:
    ///
    /// * `{7}`: a value with the number 7,
    /// * `@KEY` and `@first:KEY`: the newest and the oldest revision of a key,
    /// * `@consumer`: each consumer of the bucket in turn,
    /// * `@leader`: the server of a cluster that leads the stream.
    pub commands: &'static str,
    /// A text that the program prints, in its answer or its error.
    pub prints: &'static str,
    pub is_refused: bool,
    pub effect: Effect,
    /// Keys that lose their values and of which no message tells.
    pub untold: &'static [&'static str],
    /// A key that gets a value soon.
    pub arrives: Option<&'static str>,
    /// A key that is waited for to lose its value.
    pub expires: Option<&'static str>,
    pub service: Service,
    pub watch: WatchEffect,
}

/// What becomes of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// All that reads it is equal to it.
    Equal,
    /// All that reads it fails with this.
    Fails(StoreErrorKind),
}

/// What becomes of the writes of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Stores,
    /// The calls that wait for their writes fail.
    Fails,
    /// The server acknowledges the writes, and does not put them into the bucket.
    Misled,
}

/// What becomes of a watch that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEffect {
    GoesOn,
    /// It ends with this error, and the walk opens another one.
    Ends(StoreErrorKind),
}

impl Step {
    /// Says that the program prints this.
    pub fn prints(mut self, text: &'static str) -> Self {
        self.prints = text;
        self
    }

    /// Says that these keys lose their values without a message.
    pub fn untold(mut self, keys: &'static [&'static str]) -> Self {
        self.untold = keys;
        self
    }

    /// Says that this key gets a value soon.
    pub fn arrives(mut self, key: &'static str) -> Self {
        self.arrives = Some(key);
        self
    }

    /// Says that this key loses its value soon.
    pub fn expires(mut self, key: &'static str) -> Self {
        self.expires = Some(key);
        self
    }

    /// Says that nothing can be stored from now on.
    pub fn read_only(mut self) -> Self {
        self.service = Service::Fails;
        self
    }

    /// Says that the server puts elsewhere what it acknowledges.
    pub fn misled(mut self) -> Self {
        self.service = Service::Misled;
        self
    }

    /// Says that there is no such bucket from now on.
    pub fn fails(mut self, kind: StoreErrorKind) -> Self {
        self.effect = Effect::Fails(kind);
        self.service = Service::Fails;
        self.ends_watch(kind)
    }

    /// Says that the stream is no bucket from now on. A watch goes on with what it has.
    pub fn becomes_no_bucket(mut self) -> Self {
        self.effect = Effect::Fails(StoreErrorKind::NotABucket);
        self
    }

    /// Says that a watch ends.
    pub fn ends_watch(mut self, kind: StoreErrorKind) -> Self {
        self.watch = WatchEffect::Ends(kind);
        self
    }
}

/// The program does it.
pub fn done(commands: &'static str) -> Step {
    Step {
        commands,
        prints: "",
        is_refused: false,
        effect: Effect::Equal,
        untold: &[],
        arrives: None,
        expires: None,
        service: Service::Stores,
        watch: WatchEffect::GoesOn,
    }
}

/// The program fails with this text, and nothing changes.
pub fn refused(commands: &'static str, text: &'static str) -> Step {
    Step {
        is_refused: true,
        ..done(commands).prints(text)
    }
}
