// Package secure is what the cluster's shared key gives: the private authority
// behind every TLS connection between nodes, the sealed datagrams of the
// heartbeats, and the listener that tells Raft, HTTP and operators on one port.
//
// Whoever has the key is a member and is trusted; whoever has not can neither
// read nor write anything, and can only be counted.
package secure
