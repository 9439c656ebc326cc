-- Threads of the run-time system, its timer's ticks, and its collector.
import Control.Concurrent
import Control.Monad
import qualified Data.Map as Map

primes :: Int -> [Int]
primes top = filter (\n -> all (\k -> n `mod` k /= 0) (takeWhile (\k -> k * k <= n) [2 ..])) [2 .. top]

main :: IO ()
main = do
  results <- newEmptyMVar
  forM_ [1 .. 8] $ \n -> forkIO $ do
    let found = Map.fromList (zip (primes (n * 24000)) [0 :: Int ..])
    putMVar results $! Map.foldr (+) 0 found
  total <- sum <$> replicateM 8 (takeMVar results)
  print total
