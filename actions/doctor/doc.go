// Package doctor looks at the machine for what makes failovers slow or a promise
// hollow: one Finding a line, each with what to do.
//
// A check is a function of what was read to what it means. What reads is small
// and apart: files come from an fs.FS, so that a test hands in a tree of its own;
// netlink, timers and the disk each have one function that measures.
package doctor
