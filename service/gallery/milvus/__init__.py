"""A gallery in Milvus, shared by several services."""
