//! A real client and a real service that talk by `WebSocket`.

use crate::ways::{Client, Ways};

#[tokio::test]
async fn p6_a_websocket_is_the_same_to_both_ends() {
    let ways = Ways::to("uvicorn-httptools").await;
    let client = Client::Python("by_websockets.py", "-");
    let [straight, through] = ways.printed(client).await;
    assert_eq!(through, straight, "left is through the sidecar");
    assert_eq!(straight.len(), 15, "{straight:?}");
}
