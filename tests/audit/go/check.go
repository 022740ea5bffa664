// Checks a ledger's notes and proofs with Go's own transparency log packages (golang.org/x/mod/sumdb).
// Input: one JSON object on standard input. Exit code 0: all good; 1: the first failure is on standard error.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type inclusion struct {
	Index int64
	Line  string
	Path  []string
}

type consistency struct {
	Old     int64
	OldRoot string
	Path    []string
}

type question struct {
	Vkey        string
	Note        string
	Inclusion   []inclusion
	Consistency []consistency
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

func hash(text string) (found tlog.Hash) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) != len(found) {
		fail("not a hash: %q", text)
	}
	copy(found[:], data)
	return found
}

func hashes(texts []string) (found []tlog.Hash) {
	for _, text := range texts {
		found = append(found, hash(text))
	}
	return found
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fail("question: %v", err)
	}
	verifier, err := note.NewVerifier(asked.Vkey)
	if err != nil {
		fail("vkey: %v", err)
	}
	opened, err := note.Open([]byte(asked.Note), note.VerifierList(verifier))
	if err != nil {
		fail("note: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	var size int64
	if _, err := fmt.Sscan(lines[1], &size); err != nil || lines[0] != verifier.Name() {
		fail("checkpoint: %q", opened.Text)
	}
	root := hash(lines[2])
	for _, one := range asked.Inclusion {
		leaf := tlog.RecordHash([]byte(one.Line))
		if err := tlog.CheckRecord(tlog.RecordProof(hashes(one.Path)), size, root, one.Index, leaf); err != nil {
			fail("record %d: %v", one.Index, err)
		}
	}
	for _, one := range asked.Consistency {
		if err := tlog.CheckTree(tlog.TreeProof(hashes(one.Path)), size, root, one.Old, hash(one.OldRoot)); err != nil {
			fail("tree %d: %v", one.Old, err)
		}
	}
	fmt.Println("good")
}
