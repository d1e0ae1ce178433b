"""The counter and the books: settings, messages, the queue, the artifacts and the catalog."""
