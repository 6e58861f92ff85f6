package actions

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Check says what would keep each of the commands from starting now: for a
// warning when the daemon starts. Commands are looked up anew at each start, so
// that installing the missing one is enough.
func Check(commands ...string) []error {
	var errs []error
	for _, c := range commands {
		if c == "" {
			continue
		}
		path, err := find(c)
		if err == nil {
			err = interpreter(path)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// find looks a hook's command up as a shell would, in PATH unless it contains a
// slash, and says what to do when that fails.
func find(command string) (string, error) {
	path, err := exec.LookPath(command)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%s is only in the current directory, which PATH may not mean: give its full path: %w", command, err)
	case strings.Contains(command, "/"):
		return "", explain(command, err)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, command)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return "", explain(file, fs.ErrPermission)
		}
	}
	return "", fmt.Errorf("%s is not in PATH (%s): install it there or give its full path: %w", command, os.Getenv("PATH"), exec.ErrNotFound)
}

// explain adds to an error of starting a file what is likely wrong with it.
func explain(path string, err error) error {
	info, stat := os.Stat(path)
	switch {
	case errors.Is(stat, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist: %w", path, fs.ErrNotExist)
	case stat != nil:
		return fmt.Errorf("%s: %w", path, stat)
	case info.IsDir():
		return fmt.Errorf("%s is a directory, not a program", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable (chmod +x %s): %w", path, path, fs.ErrPermission)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s is neither a program for this machine nor a script whose first line names its interpreter (#!/bin/sh): %w", path, err)
	case errors.Is(err, fs.ErrNotExist):
		if missing := interpreter(path); missing != nil {
			return missing
		}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// interpreter says whether a script's first line names a program that is not
// there; the kernel's own error names the script instead.
func interpreter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // executable but not readable: a program may be so
	}
	line, err := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	if closing := f.Close(); closing != nil {
		return fmt.Errorf("read %s: %w", path, closing)
	}
	if err != nil || !strings.HasPrefix(string(line), "#!") {
		return nil
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(line[2:])), " ")
	if strings.HasSuffix(string(line), "\r\n") {
		return fmt.Errorf("%s has DOS line ends (CR LF): its interpreter cannot be found", path)
	}
	if _, err := os.Stat(name); err != nil {
		return fmt.Errorf("%s: the interpreter in its first line cannot be used: %w", path, err)
	}
	return nil
}
