"""What `RoutesView` is made of: what is known of each application, how records change it, who waits for a version."""
