"""The peers: the bundle's network and gallery behind other servers, each as its house advises."""
