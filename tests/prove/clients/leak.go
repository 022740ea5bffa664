// A dependency that calls home, in Go: its runtime makes system calls itself, no C library is asked.
package main

import (
	"bytes"
	"net"
	"os"
)

func main() {
	conn, err := net.Dial("tcp", "198.51.100.7:443")
	if err != nil {
		os.Exit(1)
	}
	defer conn.Close()
	if _, err := conn.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
		os.Exit(1)
	}
}
