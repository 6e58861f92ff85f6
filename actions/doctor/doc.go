// Package doctor looks at the machine for what makes failovers slow or a promise
// hollow: one Finding a line, each with what to do.
package doctor
