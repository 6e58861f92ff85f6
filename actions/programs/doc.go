// Package programs is the driver of systems whose action is a program: one that runs
// on this machine, has claimed the system over the daemon's socket, is told what to
// take and what to let go of, and says when it has done so.
//
// Driver decides who is told what; Process is what is known of a program from
// outside; Register is the file by which the next daemon, and the guard, know whom to
// ask. DESIGN.md beside this file says what is decided here, and why.
package programs
