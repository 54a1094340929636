"""One page a file: what stands where, and which request each control writes. No page knows a tensor."""
