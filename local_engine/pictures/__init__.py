"""Pictures in a chat: read and bounded here, before native code sees them; nothing is ever fetched."""
