"""The peers: the bundle's network and index in other servers, each as its documentation advises."""
