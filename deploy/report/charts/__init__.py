"""Charts as SVG, in colours that the page's style gives: light, dark or for paper."""
