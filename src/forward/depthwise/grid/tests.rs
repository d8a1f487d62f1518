//! Windows in a few lines of an image are those in all of its lines.

use super::*;
use crate::geometry::Window;

fn geometries() -> Vec<Geometry> {
    let window = Window { groups: 3, ..Window::POINTWISE };
    let padded = Window { padding: [[0, 0], [1, 2], [2, 1]], ..window };
    let strided = Window { stride: [1, 2, 3], dilation: [1, 1, 2], ..padded };
    let skipping = Window { stride: [1, 4, 1], ..padded };
    let deep = Window { padding: [[1, 0], [1, 1], [0, 2]], stride: [2, 1, 1], ..window };
    [
        (window, [2, 3, 1, 9, 5], [3, 1, 1, 2, 3]),
        (padded, [1, 3, 1, 12, 7], [3, 1, 1, 3, 3]),
        (strided, [2, 3, 1, 20, 11], [3, 1, 1, 3, 2]),
        (skipping, [1, 3, 1, 23, 4], [6, 1, 1, 2, 2]),
        (deep, [2, 3, 6, 7, 5], [3, 1, 3, 2, 1]),
    ]
    .map(|(window, x, w)| Geometry::new(window, x, w).unwrap())
    .to_vec()
}

/// Writes the numbers of elements of images, and 0 for padding.
fn write(grid: Grid<'_>, image: usize, lines: Range<usize>, elements: &mut [u32]) {
    let [depth, height, width] = grid.geometry.input;
    grid.write_lines(lines, elements, 0, |line, mut to| {
        for i in 0..width {
            let first = ((image * depth * height + line) * width + i) * grid.pixel;
            let numbers = 1 + first as u32..;
            to.pixel(i).iter_mut().zip(numbers).for_each(|(to, number)| *to = number);
        }
    });
}

#[test]
fn strips_follow_windows() {
    for geometry in geometries() {
        let grid = Grid::new(&geometry, geometry.filters).unwrap();
        let mut offsets = vec![0; geometry.taps()];
        grid.write_offsets(&mut offsets);
        for rows in 1..20 {
            let room = grid.strip_lines(rows, 1);
            let mut elements = vec![7; room * grid.line_len()];
            let mut strip = Strip::new(grid, room, &mut elements);
            for image in 0..geometry.batch {
                let mut whole = vec![7; grid.len()];
                write(grid, image, 0..grid.lines, &mut whole);
                strip.clear();
                // Blocks may begin anywhere.
                for first in (image..geometry.positions()).step_by(rows) {
                    let positions = first..geometry.positions().min(first + rows);
                    let lines = grid.lines_of(positions.clone());
                    strip.follow(lines, |lines, to| write(grid, image, lines, to));
                    for at in positions {
                        for &offset in &offsets {
                            let expected = &whole[grid.window(at) + offset..][..grid.pixel];
                            let found = &strip.window(at)[offset..][..grid.pixel];
                            assert_eq!(found, expected, "{geometry:?}: {rows} at {at}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn taps_see_what_the_geometry_says() {
    for geometry in geometries() {
        let grid = Grid::new(&geometry, geometry.filters).unwrap();
        let mut offsets = vec![0; geometry.taps()];
        grid.write_offsets(&mut offsets);
        let mut image = vec![7; grid.len()];
        write(grid, 0, 0..grid.lines, &mut image);
        for at in 0..geometry.positions() {
            geometry.for_each_tap(at, |tap, pixel| {
                let found = image[grid.window(at) + offsets[tap]];
                let expected = pixel.map_or(0, |pixel| 1 + (pixel * grid.pixel) as u32);
                assert_eq!(found, expected, "{geometry:?}: tap {tap} at {at}");
            });
        }
    }
}
