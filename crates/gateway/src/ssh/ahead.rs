//! What a machine says on a channel, in order: also what it says before it has granted what the channel is for. Some do, and it is the beginning of what their callers see.

use std::collections::VecDeque;

use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client};

use super::relay::MACHINE_GONE;

/// So much may come before the machine has granted what was asked, in bytes and in messages: a banner is shorter.
const MAX_AHEAD_BYTES: usize = 256 << 10;
const MAX_AHEAD: usize = 1_024;

/// What came before the machine granted what was asked.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    messages: VecDeque<ChannelMsg>,
    bytes: usize,
}

impl Ahead {
    /// Waits for the machine's answer to what was asked last.
    ///
    /// # Errors
    /// It is gone, or says too much before: the sentence.
    pub(super) async fn until_answered(&mut self, channel: &mut Channel<client::Msg>) -> Result<bool, String> {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(true),
                Some(ChannelMsg::Failure) => return Ok(false),
                None | Some(ChannelMsg::Close) => return Err(MACHINE_GONE.to_owned()),
                Some(message) => self.keep(message)?,
            }
        }
    }

    fn keep(&mut self, message: ChannelMsg) -> Result<(), String> {
        self.bytes += match &message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => data.len(),
            ChannelMsg::Eof | ChannelMsg::ExitStatus { .. } => 0,
            _ => return Ok(()),
        };
        if self.bytes > MAX_AHEAD_BYTES || self.messages.len() >= MAX_AHEAD {
            return Err("the machine says too much before it begins".to_owned());
        }
        self.messages.push_back(message);
        Ok(())
    }
}

/// The machine's end of a channel.
pub(super) struct Machines {
    pub(super) hear: FromMachine,
    pub(super) say: ChannelWriteHalf<client::Msg>,
}

/// What the machine says.
pub(super) struct FromMachine {
    ahead: VecDeque<ChannelMsg>,
    read: ChannelReadHalf,
}

impl Machines {
    /// Of a channel on which something came before it began.
    pub(super) fn new(channel: Channel<client::Msg>, ahead: Ahead) -> Self {
        let (read, say) = channel.split();
        Self { hear: FromMachine { ahead: ahead.messages, read }, say }
    }
}

impl From<Channel<client::Msg>> for Machines {
    fn from(channel: Channel<client::Msg>) -> Self {
        Self::new(channel, Ahead::default())
    }
}

impl FromMachine {
    /// What comes next; none once the link is gone. Nothing is lost where this is given up.
    pub(super) async fn wait(&mut self) -> Option<ChannelMsg> {
        match self.ahead.pop_front() {
            Some(message) => Some(message),
            None => self.read.wait().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: usize) -> ChannelMsg {
        ChannelMsg::Data { data: vec![b'x'; bytes].into() }
    }

    #[test]
    fn what_comes_before_the_answer_is_kept_in_order_and_not_without_end() {
        let mut ahead = Ahead::default();
        ahead.keep(data(MAX_AHEAD_BYTES - 1)).unwrap();
        ahead.keep(ChannelMsg::WindowAdjusted { new_size: 7 }).unwrap();
        ahead.keep(ChannelMsg::ExtendedData { data: vec![b'y'].into(), ext: 1 }).unwrap();
        assert!(matches!(ahead.messages.make_contiguous(), [ChannelMsg::Data { .. }, ChannelMsg::ExtendedData { .. }]));
        assert!(ahead.keep(data(1)).is_err());
        let mut ahead = Ahead::default();
        for _ in 0..MAX_AHEAD {
            ahead.keep(data(0)).unwrap();
        }
        assert!(ahead.keep(data(0)).is_err());
    }
}
