"""The direct link: how messages travel between the server and its nodes, over one gRPC stream a node."""
