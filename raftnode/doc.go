// Package raftnode is one server's part in the replicated log: its data
// directory, hashicorp/raft, founding and joining, and, on the leader, the loop
// that decides what is proposed next.
//
// A Node never acts on the machine. It keeps the agreed fsm.State, hands it to
// whoever asks, and proposes commands: what a member has to register or to
// report on any node; downs, moves and changes of the voters on the leader.
// DESIGN.md in this directory says why it is built as it is.
package raftnode
