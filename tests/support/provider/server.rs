//! The double's thread: listens, serves, goes down and comes up.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::fault::Act;
use super::{Call, Shared, wire};

/// What the test asks of the thread.
pub enum Command {
    Down,
    Up,
    Stop,
}

pub type Commands = UnboundedSender<(Command, mpsc::Sender<()>)>;

/// While it is down, the port is bound but not listened on: connections are refused, and nobody
/// else gets the port.
enum Door {
    Open(TcpListener),
    Shut(TcpSocket),
}

pub fn start(shared: Arc<Shared>) -> (SocketAddr, Commands, JoinHandle<()>) {
    let (commands, receiver) = unbounded_channel();
    let (ready, address) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ready.send(listener.local_addr().unwrap()).unwrap();
            run(listener, shared, receiver).await;
        });
    });
    (address.recv().expect("the provider did not start"), commands, thread)
}

async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut commands: UnboundedReceiver<(Command, mpsc::Sender<()>)>,
) {
    let address = listener.local_addr().unwrap();
    let mut door = Door::Open(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => {
                let Some((command, done)) = command else { return };
                door = match (command, door) {
                    (Command::Stop, _) => return,
                    (Command::Down, Door::Open(listener)) => {
                        drop(listener);
                        connections.shutdown().await;
                        Door::Shut(bind(address))
                    }
                    (Command::Up, Door::Shut(socket)) => Door::Open(socket.listen(1024).unwrap()),
                    (_, door) => door,
                };
                // The test may have given up waiting.
                let _ = done.send(());
            }
            stream = accept(&door) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // A connection that breaks is the client's affair.
                    let _ = serve(stream, shared).await;
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn accept(door: &Door) -> TcpStream {
    match door {
        Door::Open(listener) => loop {
            if let Ok((stream, _)) = listener.accept().await {
                return stream;
            }
        },
        Door::Shut(_) => std::future::pending().await,
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(call) = wire::read(&mut stream).await? {
        let fault = {
            let mut state = shared.state();
            state.calls.push(call.clone());
            state.faults.next(&call.path)
        };
        match fault {
            Some(Act::RefuseUnknown { status }) if !shared.state().graph.knows(&call) => {
                wire::answer(&mut stream, status, r#"{"message":"unknown"}"#).await?;
                continue;
            }
            None | Some(Act::RefuseUnknown { .. }) => {}
            Some(Act::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Act::Hold(gate)) => {
                gate.arrive();
                gate.opened().await;
            }
            Some(Act::LandsAfter(gate)) => {
                gate.arrive();
                tokio::spawn(async move {
                    gate.opened().await;
                    shared.state().graph.apply(&call);
                });
                return until_closed(&mut stream).await;
            }
            Some(Act::Trickle { body_alone, pause }) => {
                let answer = shared.state().graph.apply(&call);
                return wire::trickle(&mut stream, answer, body_alone, pause).await;
            }
            Some(Act::Raw { bytes, applies }) => {
                apply_if(applies, &shared, &call);
                stream.write_all(&bytes).await?;
                return Ok(());
            }
            Some(Act::Answer { status, body, applies }) => {
                apply_if(applies, &shared, &call);
                wire::answer(&mut stream, status, &body).await?;
                continue;
            }
        }
        let (status, body) = shared.state().graph.apply(&call);
        wire::answer(&mut stream, status, &body).await?;
    }
    Ok(())
}

fn apply_if(applies: bool, shared: &Shared, call: &Call) {
    if applies {
        shared.state().graph.apply(call);
    }
}

async fn until_closed(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
