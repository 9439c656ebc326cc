package main

import (
	"fmt"
	"sync"
)

func main() {
	var wg sync.WaitGroup
	c := make(chan int)
	for n := 0; n < 50; n++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			s := 0
			for i := 0; i < 4000000; i++ {
				s = (s*31 + i*n) % 1000003
			}
			c <- s
		}(n)
	}
	go func() { wg.Wait(); close(c) }()
	sum := 0
	for s := range c {
		sum += s
	}
	fmt.Println(sum)
}
