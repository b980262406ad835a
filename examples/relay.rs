//! A raw TCP relay, the floor that any proxy stands on: `relay LISTEN UPSTREAM`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("LISTEN is missing")?;
    let upstream = arguments.next().ok_or("UPSTREAM is missing")?;
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let upstream = upstream.clone();
        tokio::spawn(async move {
            let service = TcpStream::connect(upstream).await?;
            client.set_nodelay(true)?;
            service.set_nodelay(true)?;
            let (client_in, client_out) = client.into_split();
            let (service_in, service_out) = service.into_split();
            tokio::spawn(pump(client_in, service_out));
            pump(service_in, client_out).await
        });
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 8 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}
