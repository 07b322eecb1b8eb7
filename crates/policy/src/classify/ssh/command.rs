//! What commands do: from what the shell reads to what is asked for.
//!
//! Each simple command is the program it names; what is known of programs is in `programs`. The directory that relative paths begin in is followed
//! through `cd`: where it may be one of several, all of them count.

use std::rc::Rc;

use super::{
    found::Found,
    paths::Places,
    shell::{self, AndOr, Body, Command, Join, MAX_DEPTH, Pipeline, Redirect, RedirectKind, Script, Simple, Word},
    variables,
};

/// How many words of commands are looked at for one operation, those of a loop or of a text that is read again each time.
const MAX_WORDS: usize = 50_000;

/// How many bytes of text are read as commands for one operation, each time they are.
const MAX_BYTES_READ: usize = 1 << 20;

/// A walk through what a caller wants to run.
#[derive(Debug)]
pub(super) struct Walk<'f> {
    pub(super) found: &'f mut Found,
    /// Where the command that comes next may run.
    pub(super) places: Places,
    /// Whether the home directory is that of whoever the gateway signs in as.
    pub(super) at_home: bool,
    /// Whether it is so in texts that are read as commands, too.
    pub(super) keeps_home: bool,
    depth: usize,
    words_left: usize,
    bytes_left: usize,
    /// It was seen before, and is not counted again.
    again: bool,
}

/// Where commands may be once one has run.
#[derive(Debug, Clone)]
pub(super) struct After {
    pub(super) success: Places,
    pub(super) failure: Places,
}

/// What a command reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input<'a> {
    /// What the caller sends, or another command prints.
    Unknown,
    /// A file.
    File(&'a Word),
    /// This text.
    Text(&'a Word),
}

impl<'f> Walk<'f> {
    pub(super) fn new(found: &'f mut Found) -> Self {
        Self {
            found,
            places: Places::home(),
            at_home: true,
            keeps_home: true,
            depth: 0,
            words_left: MAX_WORDS,
            bytes_left: MAX_BYTES_READ,
            again: false,
        }
    }

    /// All of an operation.
    pub(super) fn whole(&mut self, text: &str) {
        self.text(text, Input::Unknown);
    }

    /// A text that is read as commands.
    pub(super) fn text(&mut self, text: &str, input: Input<'_>) -> After {
        let Some(left) = self.bytes_left.checked_sub(text.len()) else { return self.doubted("reading it takes too long") };
        self.bytes_left = left;
        match shell::read(text, self.depth) {
            Err(why) => self.doubted(why),
            Ok(script) => {
                let at_home = self.at_home;
                self.at_home = at_home && self.keeps_home;
                let after = self.script(&script, input);
                self.at_home = at_home;
                after
            }
        }
    }

    /// It is not understood, and may lead anywhere.
    pub(super) fn doubted(&mut self, why: &str) -> After {
        self.found.doubt(why);
        After { success: Places::unknown(), failure: Places::unknown() }
    }

    /// It leads nowhere else.
    pub(super) fn stays(&self) -> After {
        After { success: self.places.clone(), failure: self.places.clone() }
    }

    /// One level deeper; none if that is too deep.
    pub(super) fn deeper(&mut self, work: impl FnOnce(&mut Self) -> After) -> After {
        if self.depth >= MAX_DEPTH {
            return self.doubted("it is nested too deeply");
        }
        self.depth += 1;
        let after = work(self);
        self.depth -= 1;
        after
    }

    /// What runs in a shell of its own leaves this one where it is.
    pub(super) fn apart(&mut self, work: impl FnOnce(&mut Self) -> After) -> After {
        let (places, keeps_home) = (self.places.clone(), self.keeps_home);
        work(self);
        (self.places, self.keeps_home) = (places, keeps_home);
        self.stays()
    }

    fn script(&mut self, script: &Script, input: Input<'_>) -> After {
        let mut after = self.stays();
        for item in &script.items {
            self.places = after.success.or(&after.failure);
            after = if item.background { self.apart(|walk| walk.and_or(item, input)) } else { self.and_or(item, input) };
        }
        self.places = after.success.or(&after.failure);
        after
    }

    fn and_or(&mut self, item: &AndOr, input: Input<'_>) -> After {
        let mut after = self.pipeline(&item.first, input);
        for (join, pipeline) in &item.rest {
            self.places = match join {
                Join::And => after.success.clone(),
                Join::Or => after.failure.clone(),
            };
            let next = self.pipeline(pipeline, input);
            after = match join {
                Join::And => After { success: next.success, failure: after.failure.or(&next.failure) },
                Join::Or => After { success: after.success.or(&next.success), failure: next.failure },
            };
        }
        after
    }

    fn pipeline(&mut self, pipeline: &Pipeline, input: Input<'_>) -> After {
        let after = match pipeline.commands.as_slice() {
            [command] => self.command(command, input),
            commands => self.piped(commands, input),
        };
        if pipeline.negated { After { success: after.failure, failure: after.success } } else { after }
    }

    /// Each command of a pipe runs apart, but for the last in some shells.
    fn piped(&mut self, commands: &[Command], input: Input<'_>) -> After {
        let before = self.places.clone();
        for (place, command) in commands.iter().enumerate() {
            self.places = before.clone();
            let after = self.command(command, if place == 0 { input } else { Input::Unknown });
            self.places = after.success.or(&after.failure);
        }
        let places = before.or(&self.places);
        After { success: places.clone(), failure: places }
    }

    fn command(&mut self, command: &Command, input: Input<'_>) -> After {
        let input = command.redirects.iter().filter(|redirect| redirect.input).fold(input, |_, redirect| read_from(redirect));
        for redirect in &command.redirects {
            self.redirect(redirect);
        }
        self.deeper(|walk| walk.body(&command.body, input))
    }

    fn body(&mut self, body: &Body, input: Input<'_>) -> After {
        match body {
            Body::Simple(simple) => self.simple(simple, input),
            Body::Group(script) => self.script(script, input),
            Body::Subshell(script) => self.apart(|walk| walk.script(script, input)),
            Body::If(branches, otherwise) => self.conditional(branches, otherwise.as_ref(), input),
            Body::Loop(condition, body) => self.repeated(|walk| {
                walk.script(condition, input);
                walk.script(body, input);
            }),
            Body::For(name, words, body) => {
                variables::assigned(name, self.found);
                self.all_run(words);
                self.repeated(|walk| drop(walk.script(body, input)))
            }
            Body::Case(word, arms) => self.case(word, arms, input),
        }
    }

    fn conditional(&mut self, branches: &[(Script, Script)], otherwise: Option<&Script>, input: Input<'_>) -> After {
        let mut places = Places::nowhere();
        for (condition, then) in branches {
            let after = self.script(condition, input);
            self.places = after.success;
            self.script(then, input);
            places = places.or(&self.places);
            self.places = after.failure;
        }
        if let Some(otherwise) = otherwise {
            self.script(otherwise, input);
        }
        self.places = places.or(&self.places);
        self.stays()
    }

    fn case(&mut self, word: &Word, arms: &[(Vec<Word>, Script)], input: Input<'_>) -> After {
        self.all_run(std::slice::from_ref(word));
        let before = self.places.clone();
        let mut places = before.clone();
        for (patterns, script) in arms {
            self.places = before.clone();
            self.all_run(patterns);
            self.script(script, input);
            places = places.or(&self.places);
        }
        self.places = places;
        self.stays()
    }

    /// Any number of times: a body that moves may begin anywhere the second time.
    fn repeated(&mut self, work: impl Fn(&mut Self)) -> After {
        let before = self.places.clone();
        work(self);
        if before.or(&self.places) != before {
            let again = std::mem::replace(&mut self.again, true);
            self.places = Places::unknown();
            work(self);
            self.again = again;
            self.places = Places::unknown();
        }
        self.places = before.or(&self.places);
        self.stays()
    }

    fn simple(&mut self, simple: &Simple, input: Input<'_>) -> After {
        if !self.again {
            self.found.statements = self.found.statements.saturating_add(1);
        }
        for assignment in &simple.assignments {
            variables::set_to(&assignment.name, &assignment.value, self.found);
            self.all_run(std::slice::from_ref(&assignment.value));
        }
        self.all_run(&simple.words);
        if simple.words.is_empty() {
            return self.stays();
        }
        let before = self.places.clone();
        let after = self.program(&simple.words, input);
        if simple.may_be_background {
            let places = before.or(&after.success).or(&after.failure);
            return After { success: places.clone(), failure: places };
        }
        after
    }

    /// The substitutions in words.
    fn all_run(&mut self, words: &[Word]) {
        for script in words.iter().flat_map(|word| &word.runs) {
            let script = Rc::clone(script);
            self.apart(|walk| walk.deeper(|walk| walk.script(&script, Input::Unknown)));
        }
    }

    fn redirect(&mut self, redirect: &Redirect) {
        self.all_run(std::slice::from_ref(&redirect.target));
        if let Some(document) = redirect.document.as_ref().and_then(|document| document.get()) {
            self.all_run(std::slice::from_ref(document));
        }
        match redirect.kind {
            RedirectKind::Read => self.redirected(&redirect.target, &[model::Action::Read]),
            RedirectKind::Write => self.redirected(&redirect.target, &[model::Action::Write]),
            RedirectKind::ReadWrite => self.redirected(&redirect.target, &[model::Action::Read, model::Action::Write]),
            RedirectKind::Duplicate | RedirectKind::Text => {}
        }
    }

    /// So many words are looked at. Whether that is too many by now.
    pub(super) fn spend(&mut self, words: usize) -> bool {
        self.words_left = self.words_left.saturating_sub(words);
        self.words_left == 0
    }
}

fn read_from(redirect: &Redirect) -> Input<'_> {
    match (redirect.kind, &redirect.document) {
        (RedirectKind::Read, _) => Input::File(&redirect.target),
        (RedirectKind::Text, Some(document)) => document.get().map_or(Input::Unknown, Input::Text),
        (RedirectKind::Text, None) => Input::Text(&redirect.target),
        (RedirectKind::Write | RedirectKind::ReadWrite | RedirectKind::Duplicate, _) => Input::Unknown,
    }
}
