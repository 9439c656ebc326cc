sums = 10.times.map { |n| Thread.new { (1..60000).reduce { |a, b| (a * n + b) % 1000003 } } }
puts sums.map(&:value).sum
