//! A TCP relay that can be cut: stands for a network that fails while both ends live.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Open at first. Ends when dropped.
pub struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum State {
    Open,
    /// Connections are ended, new ones at once.
    Cut,
    /// Connections stay, and nothing passes.
    Silent,
}

impl Relay {
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (state, watched) = watch::channel(State::Open);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target.clone(), watched.clone()));
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, target: String, mut state: watch::Receiver<State>) {
    if *state.borrow() == State::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    loop {
        if *state.borrow() == State::Silent {
            let _ = state.wait_for(|state| *state != State::Silent).await;
        }
        let copy = tokio::io::copy_bidirectional(&mut client, &mut server);
        tokio::select! {
            _ = copy => return,
            _ = state.wait_for(|state| *state != State::Open) => {}
        }
        if *state.borrow() == State::Cut {
            return;
        }
    }
}
