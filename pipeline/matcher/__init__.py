"""Events to deliveries, with Faust: the only importer of faust."""
